"""The engine against a game that is worked out by hand, and against the laws that any game obeys."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_game import DOMAIN, GRAMMAR, PROBLEM, small_game

from hgpo.envs.household import generate
from hgpo.envs.textgame import Episode, GameFormatError, compile_game, engine

GAME = compile_game(small_game())


def played(*commands: str) -> Episode:
    episode = Episode(GAME)
    for command in commands:
        episode.step(command)
    return episode


def test_the_start_is_told_by_the_grammar_in_the_order_of_identifiers():
    episode = Episode(GAME)
    # a_key comes before old_coin; two items take the last separator only.
    assert episode.observation == "Hello. You see a a key, and a old coin."
    assert episode.state_key == ""
    assert not episode.won


def test_admissible_commands_are_those_whose_preconditions_hold():
    # No "open": the agent is at the red box, which is open. No "drop": nothing is held. No "dust": nothing is
    # dusty. "go to red box" would change nothing. A coin is a thing, so it can be taken and said too.
    assert Episode(GAME).admissible_commands == (
        "flip",
        "go to blue box",
        "say a key",
        "say old coin",
        "take a key",
        "take old coin",
    )


def test_a_disjunction_and_an_existential_open_ways_of_their_own():
    # Held things can be said anywhere; those in the red box no longer, once the agent is away.
    episode = played("take a key", "go to blue box")
    assert episode.observation == "A shut blue box."
    assert episode.admissible_commands == ("flip", "go to red box", "open blue box", "say a key")
    # (or (not (shut b)) (lit)): by light a thing can be dropped on a shut box.
    episode.step("flip")
    assert episode.observation == "It is light."
    assert "drop a key" in episode.admissible_commands


def test_conditional_effects_are_decided_by_the_state_before():
    # flip: lit becomes false where it was true and true where it was false; one after the other it would stay.
    assert played("flip").state_key == "lit"
    assert played("flip", "flip").state_key == ""


def test_an_effect_for_all_objects_reaches_each_that_meets_its_condition():
    episode = played("say a key", "say old coin")
    assert episode.state_key == "dusty a_key; dusty old_coin"
    episode.step("flip")
    assert episode.step("go to blue box") == "A shut blue box."
    assert played("say old coin", "flip", "go to blue box", "go to red box").observation == (
        "You see a a key, and a dusty old coin."
    )
    assert played("say a key", "say old coin", "dust").state_key == ""


def test_the_goal_holds_exactly_when_its_formula_does():
    to_blue = ("go to blue box", "open blue box", "go to red box")
    carry = ("take a key", "go to blue box", "drop a key", "go to red box", "take old coin", "go to blue box")
    assert not played(*to_blue, *carry).won
    assert played(*to_blue, *carry, "drop old coin").won
    # All things are in the blue box, but (not (lit)) fails.
    assert not played(*to_blue, *carry, "drop old coin", "flip").won


def test_what_was_made_false_can_be_asked_for():
    # not_in holds of what was in the box and was taken out; b is the box of the action, x is not the t of it.
    assert played("take a key").observation == "Gone from the box: nothing."
    episode = played("go to blue box", "open blue box", "go to red box", "take a key", "go to blue box")
    for command in ("drop a key", "go to red box"):
        episode.step(command)
    assert episode.step("take old coin") == "Gone from the box: a key."


def test_attributes_of_an_object():
    assert played("say old coin").observation == "the old coin, coin old_coin"


def test_an_unknown_command_changes_nothing_and_spaces_around_a_known_one_do_not_matter():
    episode = played("take a key")
    before = episode.state_key, episode.admissible_commands
    assert episode.step("take a  key") == "Nothing happens."
    assert (episode.state_key, episode.admissible_commands) == before
    assert episode.step("  flip\n") == "It is light."


def test_episodes_of_one_game_do_not_touch_one_another():
    first, second = Episode(GAME), Episode(GAME)
    first.step("take a key")
    assert second.state_key == ""
    assert "take a key" in second.admissible_commands


def test_two_ways_with_one_text_are_one_command_and_the_first_one_counts():
    # Both things are now called "take it": the key, whose identifier comes first, is taken.
    game = compile_game(small_game(grammar=GRAMMAR.replace('"take {t}"', '"take it"')))
    episode = Episode(game)
    assert episode.admissible_commands.count("take it") == 1
    episode.step("take it")
    assert "has me a_key" in episode.state_key


def test_a_command_that_is_named_after_the_state_follows_it():
    # The template asks for a fact that changes: the command is another one when the light is on.
    grammar = GRAMMAR.replace('"open {b}"', '"open {b}#how#"').replace(
        '"list_empty"', '"how": [{"condition": "lit()", "rhs": ", by light"}, {"rhs": ""}], "list_empty"'
    )
    episode = Episode(compile_game(small_game(grammar=grammar)))
    episode.step("go to blue box")
    assert "open blue box" in episode.admissible_commands
    episode.step("flip")
    assert "open blue box, by light" in episode.admissible_commands


def test_a_type_that_nothing_has_makes_its_quantifier_empty():
    # ALFWorld's own domain writes "(exists (?l - location, …": a type "location," that no object has.
    domain = DOMAIN.replace("(exists (?t - thing) (dusty ?t))", "(exists (?t - thing,) (dusty ?t))")
    episode = Episode(compile_game(small_game(domain=domain)))
    episode.step("say a key")
    assert "dust" not in episode.admissible_commands


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"domain": DOMAIN + ")"}, r"line 26: '\)' has no matching"),
        ({"domain": DOMAIN.rstrip()[:-1]}, "1 parentheses are not closed"),
        ({"domain": "(define (problem small))"}, r"expected \(define \(domain NAME"),
        ({"domain": DOMAIN.replace("(:types", "(:durative-action) (:types")}, ":durative-action, which is not"),
        ({"domain": DOMAIN.replace("(or (has", "(xor (has")}, "predicate that the domain does not declare: 'xor'"),
        ({"domain": DOMAIN.replace("(dusty ?t))\n", "(dusty ?u))\n", 1)}, r"variable \?u is not declared"),
        ({"domain": DOMAIN.replace("(at ?a ?from) :effect", "(at ?a) :effect")}, r"\(at \?a\) must have 2 arguments"),
        ({"problem": PROBLEM.replace("(shut blue_box)", "(shut green_box)")}, "green_box, which is not one of its objects"),
        ({"problem": PROBLEM.replace("(:goal", "(:aim")}, ":aim, which is not supported"),
        ({"grammar": GRAMMAR.replace("action flip", "action flop")}, "the grammar has no action flip"),
        ({"grammar": GRAMMAR.replace('feedback :: "Clean."', 'answer :: "Clean."')}, "must have a template, a feedback"),
        ({"grammar": GRAMMAR.replace('"#look#"; }', '"#peer#"; }')}, "no rule #peer#"),
        ({"grammar": GRAMMAR.replace("lit()", "bright()")}, "bright of 0 objects: the domain declares no such"),
        ({"grammar": GRAMMAR.replace("lit()", "full()")}, "full of 0 objects: it takes 1"),
        ({"grammar": GRAMMAR.replace("(t:thing, b:box)}", "(t:thing, b:bag)}")}, "asks for the type bag"),
        ({"grammar": GRAMMAR.replace("{t.name or t.id}", "{t.colour}")}, "cannot read {t.colour}"),
        ({"grammar": GRAMMAR.replace("{t.name or t.id}", "{u.name}")}, "u is not bound"),
        ({"grammar": GRAMMAR.replace("Hello. #look#", "Hello. {")}, "cannot read '{'"),
        ({"grammar": GRAMMAR.replace("Hello. #look#", "Hello. #intro#")}, "#intro# of the grammar refers to itself"),
        ({"grammar": GRAMMAR.replace('"intro": [', '"intro": ')}, "rules must be JSON"),
        ({"grammar": GRAMMAR + "verb x {}"}, "section of the grammar that begins on line"),
    ],
)  # fmt: skip
def test_what_is_broken_or_not_supported_is_named(change, message):
    with pytest.raises(GameFormatError, match=message):
        compile_game(small_game(**change))


def test_a_game_without_its_parts_is_named():
    with pytest.raises(GameFormatError, match="'grammar'; this one has"):
        compile_game({"pddl_domain": DOMAIN, "pddl_problem": PROBLEM})


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 500), st.integers(0, 2**32))
def test_the_state_key_decides_all_that_follows(number, seed):
    # Random walks of one game come to the same states by different ways. Equal keys must mean the same commands
    # and the same verdict, and a command given there the same answer and the same next state.
    game = compile_game(generate(f"train/{number}").game)
    rng = random.Random(seed)
    states, steps = {}, {}
    for _ in range(12):
        episode = Episode(game)
        for _ in range(15):
            key = episode.state_key
            state = (episode.admissible_commands, episode.won)
            assert states.setdefault(key, state) == state
            command = rng.choice(episode.admissible_commands)
            after = (episode.step(command), episode.state_key)
            assert steps.setdefault((key, command), after) == after
    assert len(steps) < 12 * 15  # some step was taken twice


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 500), st.lists(st.integers(0, 1000), max_size=15))
def test_what_is_kept_between_steps_equals_what_is_found_afresh(number, choices):
    # An episode keeps the commands of actions that a step did not concern. Played at one go, without ever
    # asking between steps, nothing could be kept: both must end with the same commands.
    game = compile_game(generate(f"train/{number}").game)
    asked, commands = Episode(game), []
    for choice in choices:
        commands.append(asked.admissible_commands[choice % len(asked.admissible_commands)])
        asked.step(commands[-1])
    fresh = Episode(game)
    for command in commands:
        fresh._ways = [None] * len(fresh._ways)
        game.situations.clear()
        fresh._known = game.situation(fresh._changes)
        fresh.step(command)
    assert asked.admissible_commands == fresh.admissible_commands
    assert asked.won == fresh.won


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 500),
    st.lists(st.lists(st.integers(0, 9), max_size=12), min_size=2, max_size=5),
    st.booleans(),
)
def test_what_one_episode_has_found_is_what_another_would_find(number, plays, crowded):
    # Episodes of one game after one another, against each in a game of its own; with room for many states or two.
    data = generate(f"train/{number}").game
    shared = compile_game(data)
    room = engine.MOST_SITUATIONS
    engine.MOST_SITUATIONS = 2 if crowded else room
    try:
        for choices in plays:
            one, other = Episode(shared), Episode(compile_game(data))
            for choice in [*choices, 0]:
                assert one.admissible_commands == other.admissible_commands
                assert (one.observation, one.state_key, one.won) == (
                    other.observation,
                    other.state_key,
                    other.won,
                )
                assert one.calls() == other.calls()
                for predicate in shared.predicates:
                    assert one.facts(predicate) == other.facts(predicate)
                command = one.admissible_commands[choice % len(one.admissible_commands)]
                assert one.step(command) == other.step(command)
    finally:
        engine.MOST_SITUATIONS = room
