"""ALFWorld's splits and task types, which the household games share."""

from __future__ import annotations

TRAIN, SEEN, UNSEEN = "train", "valid_seen", "valid_unseen"
SPLITS = (TRAIN, SEEN, UNSEEN)
"""Training games; other games in the training rooms (in distribution); games in new rooms (out of it)."""

PICK = "pick_and_place_simple"
LIGHT = "look_at_obj_in_light"
CLEAN = "pick_clean_then_place_in_recep"
HEAT = "pick_heat_then_place_in_recep"
COOL = "pick_cool_then_place_in_recep"
TWO = "pick_two_obj_and_place"

KINDS = (PICK, LIGHT, CLEAN, HEAT, COOL, TWO)
"""The six task types; ALFWorld leaves out ALFRED's seventh type, with movable receptacles."""

TREATMENTS = {CLEAN: "clean", HEAT: "heat", COOL: "cool"}
"""The treatment of the thing, by task type; the same word begins the command."""
