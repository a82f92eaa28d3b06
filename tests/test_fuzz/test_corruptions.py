"""Every corruption on images of any size, and everything else refused in one sentence."""

import copy

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from mmrobust.corruptions import CORRUPTIONS, MIN_SIDE, PROFILES, SEVERITIES, corrupt
from tests.test_fuzz.examples import examples

DTYPES = ('uint8', 'int8', 'uint16', 'int64', 'float16', 'float32', 'float64', 'bool', 'complex64', 'U3', 'O')


@st.composite
def images(draw):
    """RGB uint8 of any size from 32 x 32, noise or flat, also as a view that is not contiguous."""
    height, width = draw(st.integers(MIN_SIDE, 90)), draw(st.integers(MIN_SIDE, 90))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    low = draw(st.integers(0, 255))
    high = draw(st.integers(low, 255))
    image = rng.integers(low, high + 1, (height, width, 3), dtype=np.uint8)
    return draw(st.sampled_from([image, image[::-1], image[..., ::-1], image.transpose(1, 0, 2)]))


@examples(60, 1500)
@given(
    image=images(),
    name=st.sampled_from(list(CORRUPTIONS)),
    severity=st.sampled_from(SEVERITIES),
    profile=st.sampled_from(PROFILES),
    seed=st.integers(0, 2**64),
)
def test_images_of_any_size(image, name, severity, profile, seed):
    before = image.copy()
    rng = np.random.default_rng(seed)
    same = copy.deepcopy(rng)
    corrupted = corrupt(image, name, severity, rng, profile)
    assert corrupted.dtype == np.uint8 and corrupted.shape == image.shape
    assert not np.shares_memory(corrupted, image)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(corrupted, corrupt(np.ascontiguousarray(image), name, severity, same, profile))
    assert rng.bit_generator.state == same.bit_generator.state


@st.composite
def arrays(draw):
    """Arrays of any number type and shape, also without any value."""
    shape = draw(
        st.one_of(
            st.lists(st.integers(0, 40), max_size=4),
            st.tuples(st.integers(0, 40), st.integers(0, 40), st.sampled_from([0, 1, 2, 3, 4])),
        )
    )
    return np.zeros(tuple(shape), draw(st.sampled_from(DTYPES)))


@examples(60, 800)
@given(image=st.one_of(arrays(), st.none(), st.text(), st.lists(st.integers())))
def test_what_is_no_image_is_refused(image):
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.shape[2:] == (3,):
        assume(min(image.shape[:2]) < MIN_SIDE)
    assert refused(image, 'fog', 1, np.random.default_rng(0), 'rgb')


ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers()), st.just(np.zeros(0))
)


@examples(60, 800)
@given(name=ANYTHING, severity=ANYTHING, profile=ANYTHING, rng=ANYTHING, which=st.integers(0, 3))
def test_other_arguments_are_refused(name, severity, profile, rng, which):
    arguments = ['fog', 1, np.random.default_rng(0), 'rgb']
    arguments[which] = (name, severity, rng, profile)[which]
    assume(not (which == 1 and type(severity) is int and severity in SEVERITIES))
    assert refused(np.zeros((MIN_SIDE, MIN_SIDE, 3), np.uint8), *arguments)


def refused(*arguments) -> bool:
    """Whether these are refused in one line."""
    try:
        corrupt(*arguments)
    except (TypeError, ValueError) as error:
        return str(error) != '' and len(str(error).splitlines()) == 1 and 'must be' in str(error)
    return False
