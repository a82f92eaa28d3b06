"""Renew what README and docs show of ``make demo``: images, and numbers between markers (``make docs-figures``).

python docs/figures.py                          # of work_dirs/demo
python docs/figures.py --demo work_dirs/demo_full

A marker is ``<!-- demo:KEY -->TEXT<!-- /demo -->``; docs/demo.json keeps the text of every key, and a test compares.
"""

import argparse
import csv
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2

DOCS = Path(__file__).resolve().parent
NUMBERS = DOCS / 'demo.json'
MARKER = re.compile(r'(<!-- demo:(\S+) -->)(.*?)(<!-- /demo -->)', re.DOTALL)
# file of a demo: name below docs/images, and its width in pixels at most
IMAGES = {
    'minicity.png': ('minicity.jpg', 1600),
    'overview.png': ('demo_overview.jpg', 1600),
    'attention/maps_by_image.png': ('attention_maps.jpg', 1400),
    'attention/token_over_image.png': ('attention_token.jpg', 1400),
    'attention/segmentation.png': ('attention_segmentation.jpg', 1400),
    'attention/overfocusing.png': ('attention_overfocusing.png', 1400),
    'attention/stability.png': ('attention_stability.png', 1400),
    'attention/dilations.png': ('attention_dilations.png', 1400),
}
PAGE = 'robustness_page.jpg'  # of robustness.html, if there is a browser
BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')


def pages() -> list[Path]:
    """Everything that may hold a marker."""
    return [DOCS.parent / 'README.md', *sorted(DOCS.glob('**/*.md'))]


def marked(text: str) -> dict[str, str]:
    """Key to the text between its markers."""
    return {key: inner for _, key, inner, _ in MARKER.findall(text)}


def read_numbers(demo: Path) -> dict[str, str]:
    """Key to text, of a finished demo.

    Raises:
        FileNotFoundError: it is not finished.
    """
    output = (demo / 'demo.txt').read_text()
    shown = output[output.index('3. Test them') :]
    shown = shown[shown.index('\n') + 1 :]
    lines = [line.rstrip() for line in shown.splitlines() if line.strip() and not line.startswith('$')]
    text = re.sub(r'^Done in [\d.]+ \w+\. ', '', '\n'.join(lines), flags=re.MULTILINE)  # each machine has its own time
    found = {'output': f'\n```\n{text}\n```\n'}
    for row in csv.DictReader((demo / 'attention/dilations.csv').open()):
        if (row['layer'], row['dilation']) == ('1', '0') and 'share' in row['reading']:
            found[f'dilation_0.{row["images"]}'] = f'{100 * float(row["mean"]):.0f}%'
    for row in csv.DictReader((demo / 'attention/statistics.csv').open()):
        if (row['statistic'], row['images'], row['layer']) == ('head_similarity_map', 'clean', 'all'):
            found[f'head_similarity.{row["model"].replace(" ", "")}'] = f'{float(row["median"]):.2f}'
    for name, metrics in json.loads((demo / 'results.json').read_text()).items():
        found[f'mIoU.{name.replace(" ", "")}'] = f'{metrics["mIoU"]:.1f}'
    return found


def draw_images(demo: Path) -> None:
    for source, (name, width) in IMAGES.items():
        image = cv2.imread(str(demo / source))
        if image is None:
            raise FileNotFoundError(f'There is no image {demo / source}.')
        scale = min(1.0, width / image.shape[1])
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        how = [cv2.IMWRITE_JPEG_QUALITY, 85] if name.endswith('.jpg') else [cv2.IMWRITE_PNG_COMPRESSION, 9]
        cv2.imwrite(str(DOCS / 'images' / name), image, how)
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print(f'There is no browser ({", ".join(BROWSERS)}): docs/images/{PAGE} stays as it is.', file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder, 'page.png')
        address = (demo / 'robustness.html').resolve().as_uri()
        how = ('--headless', '--no-sandbox', '--hide-scrollbars', '--window-size=1280,1600', f'--screenshot={shot}')
        subprocess.run([browser, *how, address], check=True, capture_output=True)
        cv2.imwrite(str(DOCS / 'images' / PAGE), cv2.imread(str(shot)), [cv2.IMWRITE_JPEG_QUALITY, 80])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description='Renew what README and docs show of the demo.')
    parser.add_argument('--demo', type=Path, default=Path('work_dirs/demo'), help='a finished one (%(default)s)')
    args = parser.parse_args(argv)
    if not (args.demo / 'demo.txt').is_file():
        parser.error(f'--demo must be the folder of a finished demo, got {args.demo}: run make demo first')
    draw_images(args.demo)
    numbers = read_numbers(args.demo)
    used = set()
    for page in pages():
        text = page.read_text()
        used |= marked(text).keys()
        renewed = MARKER.sub(lambda match: f'{match[1]}{numbers[match[2]]}{match[4]}', text)
        if renewed != text:
            page.write_text(renewed)
            print(f'Renewed {page.relative_to(DOCS.parent)}')
    NUMBERS.write_text(json.dumps({key: numbers[key] for key in sorted(used)}, indent=2, ensure_ascii=False) + '\n')


if __name__ == '__main__':
    main()
