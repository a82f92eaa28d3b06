from performance.sampling_cases import sampled_rows


def test_all_rows_are_exact_and_fewer_are_an_estimate():
    exact = sampled_rows('pairwise', 16, draws=2, num_tokens=16)
    assert exact.deviation == 0 and abs(exact.mean - exact.exact) < 1e-6
    assert exact.gradient_of_draw > 0.9999
    estimate = sampled_rows('paper', 4, draws=50, num_tokens=16)
    assert estimate.deviation > 0
    assert estimate.mean > estimate.exact  # a mean of fewer rows is nearer to each of them
    assert estimate.gradient_of_draw < estimate.gradient_of_mean <= 1
