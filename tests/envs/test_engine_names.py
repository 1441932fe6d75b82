"""Names of objects."""

from hgpo.envs.alfworld import demangled_names, plain_names


def test_plain_names_read_underscores_as_spaces():
    assert plain_names(["drawer_1", "mug"]) == {"drawer_1": "drawer 1", "mug": "mug"}


def test_demangled_names_count_down_in_the_order_of_identifiers():
    # Three cups: a, b, c in that order get 3, 2, 1, however they are given.
    ids = ["cup_bar_b", "cup_bar_c", "cup_bar_a", "sink_bar_x_bar_sinkbasin", "sink_bar_x", "agent1"]
    assert demangled_names(ids) == {
        "cup_bar_a": "cup 3",
        "cup_bar_b": "cup 2",
        "cup_bar_c": "cup 1",
        "sink_bar_x": "sink 1",
        "sink_bar_x_bar_sinkbasin": "sinkbasin 1",
        "agent1": "agent1 ",
    }
