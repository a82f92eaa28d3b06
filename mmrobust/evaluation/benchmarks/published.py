"""Published figures, to stand beside measured ones and never to be mixed up with them."""

# Table IV of the paper (supplement): mIoU in percent on Cityscapes-C, mean over severities 1-3 of noise and 1-5 of the
# others. Columns and averages are as printed; the average of FAN-B-Hybrid is not that of its columns, 67.08.
TABLE_IV_COLUMNS = (
    *('motion_blur', 'defocus_blur', 'glass_blur', 'gaussian_blur'),
    *('gaussian_noise', 'impulse_noise', 'shot_noise', 'speckle_noise'),
    *('brightness', 'contrast', 'saturate', 'jpeg_compression'),
    *('snow', 'spatter', 'fog', 'frost'),
)
_TABLE_IV = {
    'FAN-B-Hybrid': (
        *(70.0, 69.0, 64.3, 69.3, 55.9, 60.4, 61.1, 70.9, 81.2, 76.1, 80.0, 57.0, 54.8, 72.5, 78.4, 52.3),
        67.3,
    ),
    '+ TAP': (
        *(70.1, 69.2, 66.6, 69.8, 61.2, 67.1, 65.6, 73.5, 81.3, 76.5, 80.4, 62.3, 55.7, 74.7, 79.2, 54.9),
        69.2,
    ),
    '+ ADL': (
        *(70.1, 68.6, 65.3, 69.7, 62.6, 68.5, 66.1, 73.8, 81.7, 77.3, 80.8, 63.3, 55.3, 74.3, 79.7, 52.8),
        69.4,
    ),
    '+ TAP & ADL': (
        *(70.4, 68.8, 65.6, 69.8, 63.0, 68.4, 67.1, 74.1, 81.8, 77.4, 80.9, 63.5, 56.9, 74.9, 80.0, 53.0),
        69.7,
    ),
}
TABLE_IV = {
    model: {'corruptions': dict(zip(TABLE_IV_COLUMNS, row[:-1], strict=True)), 'average': row[-1]}
    for model, row in _TABLE_IV.items()
}
