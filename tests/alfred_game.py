"""A small game with the actions of ALFWorld's domain, in which every command can be worded as one likes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DOMAIN = """
(define (domain alfred)
 (:requirements :adl :typing)
 (:types agent location receptacle object rtype otype)
 (:predicates (atlocation ?a - agent ?l - location) (receptacleatlocation ?r - receptacle ?l - location)
   (openable ?r - receptacle) (opened ?r - receptacle) (inreceptacle ?o - object ?r - receptacle)
   (holds ?a - agent ?o - object) (holdsany ?a - agent) (cancontain ?rt - rtype ?ot - otype)
   (objecttype ?o - object ?t - otype) (receptacletype ?r - receptacle ?t - rtype)
   (isclean ?o - object) (ishot ?o - object) (iscool ?o - object) (istoggled ?o - object))
 (:action GotoLocation :parameters (?a - agent ?lStart - location ?lEnd - location ?r - receptacle)
   :precondition (and (atlocation ?a ?lStart) (receptacleatlocation ?r ?lEnd))
   :effect (and (not (atlocation ?a ?lStart)) (atlocation ?a ?lEnd)))
 (:action OpenObject :parameters (?a - agent ?l - location ?r - receptacle)
   :precondition (and (openable ?r) (atlocation ?a ?l) (receptacleatlocation ?r ?l) (not (opened ?r)))
   :effect (opened ?r))
 (:action PickupObject :parameters (?a - agent ?l - location ?o - object ?r - receptacle)
   :precondition (and (atlocation ?a ?l) (receptacleatlocation ?r ?l) (inreceptacle ?o ?r)
     (not (holdsany ?a)) (or (not (openable ?r)) (opened ?r)))
   :effect (and (holds ?a ?o) (holdsany ?a) (not (inreceptacle ?o ?r))))
 (:action PutObject
   :parameters (?a - agent ?l - location ?o - object ?r - receptacle ?ot - otype ?rt - rtype)
   :precondition (and (holds ?a ?o) (atlocation ?a ?l) (receptacleatlocation ?r ?l)
     (or (not (openable ?r)) (opened ?r)) (objecttype ?o ?ot) (receptacletype ?r ?rt) (cancontain ?rt ?ot))
   :effect (and (inreceptacle ?o ?r) (not (holds ?a ?o)) (not (holdsany ?a))))
 (:action CleanObject :parameters (?a - agent ?l - location ?r - receptacle ?o - object)
   :precondition (and (receptacletype ?r sinkbasintype) (atlocation ?a ?l) (receptacleatlocation ?r ?l)
     (holds ?a ?o)) :effect (isclean ?o))
 (:action HeatObject :parameters (?a - agent ?l - location ?r - receptacle ?o - object)
   :precondition (and (receptacletype ?r microwavetype) (atlocation ?a ?l) (receptacleatlocation ?r ?l)
     (holds ?a ?o)) :effect (ishot ?o))
 (:action CoolObject :parameters (?a - agent ?l - location ?r - receptacle ?o - object)
   :precondition (and (receptacletype ?r fridgetype) (atlocation ?a ?l) (receptacleatlocation ?r ?l)
     (holds ?a ?o)) :effect (iscool ?o))
 (:action ToggleObject :parameters (?a - agent ?l - location ?o - object ?r - receptacle)
   :precondition (and (objecttype ?o desklamptype) (atlocation ?a ?l) (receptacleatlocation ?r ?l)
     (inreceptacle ?o ?r)) :effect (istoggled ?o))
)
"""

PROBLEM = """
(define (problem kitchen) (:domain alfred)
 (:objects agent1 - agent loc_1 loc_2 loc_3 loc_4 loc_5 loc_0 - location
   sinkbasintype microwavetype fridgetype cabinettype desktype - rtype mugtype desklamptype - otype
   sink_bar_1 microwave_bar_1 fridge_bar_1 cabinet_bar_1 desk_bar_1 - receptacle
   mug_bar_1 mug_bar_2 desklamp_bar_1 - object)
 (:init (atlocation agent1 loc_0)
   (receptacleatlocation sink_bar_1 loc_1) (receptacletype sink_bar_1 sinkbasintype)
   (receptacleatlocation microwave_bar_1 loc_2) (receptacletype microwave_bar_1 microwavetype)
   (receptacleatlocation fridge_bar_1 loc_3) (receptacletype fridge_bar_1 fridgetype)
   (receptacleatlocation cabinet_bar_1 loc_4) (receptacletype cabinet_bar_1 cabinettype)
   (receptacleatlocation desk_bar_1 loc_5) (receptacletype desk_bar_1 desktype)
   (openable fridge_bar_1) (openable cabinet_bar_1)
   (objecttype mug_bar_1 mugtype) (objecttype mug_bar_2 mugtype) (objecttype desklamp_bar_1 desklamptype)
   (inreceptacle mug_bar_1 fridge_bar_1) (inreceptacle mug_bar_2 sink_bar_1)
   (inreceptacle desklamp_bar_1 desk_bar_1)
   (cancontain cabinettype mugtype) (cancontain desktype mugtype))
 (:goal GOAL))
"""

WORDING = {
    "GotoLocation": "go to {r}",
    "OpenObject": "open {r}",
    "PickupObject": "take {o} from {r}",
    "PutObject": "move {o} to {r}",
    "CleanObject": "clean {o} with {r}",
    "HeatObject": "heat {o} with {r}",
    "CoolObject": "cool {o} with {r}",
    "ToggleObject": "use {o}",
}
"""The commands of release 0.4.0 and later."""
BEFORE_040 = {**WORDING, "PutObject": "put {o} in/on {r}"}
"""The commands of releases before 0.4.0."""

IN_CABINET = "(exists (?o - object) (and (objecttype ?o mugtype) (inreceptacle ?o cabinet_bar_1) RESULT))"
GOALS = {
    "pick_and_place_simple": IN_CABINET.replace("RESULT", ""),
    "pick_clean_then_place_in_recep": IN_CABINET.replace("RESULT", "(isclean ?o)"),
    "pick_heat_then_place_in_recep": IN_CABINET.replace("RESULT", "(ishot ?o)"),
    "pick_cool_then_place_in_recep": IN_CABINET.replace("RESULT", "(iscool ?o)"),
    "pick_two_obj_and_place": "(and (inreceptacle mug_bar_1 cabinet_bar_1) "
    "(inreceptacle mug_bar_2 cabinet_bar_1))",
    "look_at_obj_in_light": "(exists (?o - object) (and (holds agent1 ?o) (istoggled desklamp_bar_1)))",
}
"""The goal of each task type."""


def alfred_game(kind: str = "pick_and_place_simple", wording: Mapping[str, str] = WORDING) -> dict[str, Any]:
    """The content of a game file."""
    actions = "".join(
        f'action {name} {{\n    template :: "{template}";\n    feedback :: "Done.";\n}}\n'
        for name, template in wording.items()
    )
    intro = '{"intro": [{"rhs": "#task#"}], "task": [{"rhs": "A kitchen. Your task is to: win."}]}'
    return {
        "pddl_domain": DOMAIN,
        "pddl_problem": PROBLEM.replace("GOAL", GOALS[kind]),
        "grammar": f'grammar :: """{intro}""";\n{actions}',
        "solvable": True,
    }


def about(kind: str = "pick_and_place_simple") -> dict[str, Any]:
    """The content of a traj_data.json."""
    lit = kind == "look_at_obj_in_light"
    return {
        "task_type": kind,
        "pddl_params": {
            "object_target": "Mug",
            "parent_target": "" if lit else "Cabinet",
            "toggle_target": "DeskLamp" if lit else "",
        },
    }


def put_alfred_game(
    folder: Path,
    identifier: str,
    kind: str = "pick_and_place_simple",
    wording: Mapping[str, str] = WORDING,
    **changes: Any,
) -> Path:
    """Write a game's two files into folder/identifier; a change of a key to None leaves the key out."""
    trial = folder / identifier
    trial.mkdir(parents=True)
    game = {**alfred_game(kind, wording), **changes}
    kept = {key: value for key, value in game.items() if value is not None}
    (trial / "game.tw-pddl").write_text(json.dumps(kept))
    (trial / "traj_data.json").write_text(json.dumps(about(kind)))
    return trial
