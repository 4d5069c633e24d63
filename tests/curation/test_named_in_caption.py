import numpy as np

from tests.fakes import captioned
from vl_pipeline.curation.named_in_caption import NamedInCaption
from vl_pipeline.curation.statistics import hits_per_target


def test_pairs_that_name_a_text_are_kept_for_the_first_one_they_name():
    block = captioned(["a dog", "nothing", "cats and dogs"], ["cat", "dog"])

    selection = NamedInCaption().select(block)

    assert selection.keep.tolist() == [True, False, True]
    assert selection.nearest_target.tolist() == [1, -1, 0]
    assert selection.count_by_reason() == {"dropped": 1, "named": 2}
    assert hits_per_target(selection.kept, 2).tolist() == [1, 1]
    assert np.isnan(selection.score).all()


def test_an_empty_block_has_an_empty_answer():
    assert len(NamedInCaption().select(captioned([], ["cat"]))) == 0
