"""Replays episodes that were recorded from the released WebShop.

The first record has the prices of the recorded catalogue: {prices: {ASIN: price}}. All others are episodes:
{goal, first: {observation, available: {has_search_bar, clickables}}, steps: [{action, observation, available,
reward, done}]}. Observations after an episode's end are not compared.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from hgpo.envs.replay import Comparison, read_recordings
from hgpo.envs.webshop.goals import Goal
from hgpo.envs.webshop.pages import Page, Place
from hgpo.envs.webshop.shop import SEARCH_ACTION, Shop, parse_action
from hgpo.envs.webshop.suite import WebshopSuite
from hgpo.errors import SettingError


def replay(suite: WebshopSuite, path: Path) -> Comparison:
    """Carry out the recorded actions and compare every observation, available action, reward and end.

    Raises:
        SettingError: if the file is not a recording, or belongs to another catalogue.
    """
    shop = suite.shop
    comparison = Comparison()
    for number, record in read_recordings(path):
        try:
            if "prices" in record:
                _check_same_products(record["prices"], shop, path)
                shop = replace(shop, catalogue=shop.catalogue.with_prices(record["prices"]))
            else:
                _replay_episode(shop, record, f"line {number}", comparison)
        except SettingError:
            raise
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise SettingError(
                f"{path}, line {number} is not a recorded WebShop episode: {error!r} is missing or wrong"
            ) from None
    return comparison


def _check_same_products(prices: dict[str, float], shop: Shop, path: Path) -> None:
    missing = next((asin for asin in prices if asin not in shop.catalogue.by_asin), None)
    if missing is not None:
        raise SettingError(
            f"{path} was recorded in another catalogue: {missing} is not in {shop.catalogue.name}; give the "
            "folder of its data with --data"
        )


def _replay_episode(shop: Shop, record: dict[str, Any], where: str, comparison: Comparison) -> None:
    """Compare an episode, up to the first search whose results differ only in their ranking."""
    goal = _goal(record["goal"])
    place = Place()
    comparison.episodes += 1
    first = record["first"]
    comparison.compare(f"{where}, start", _recorded(first), _seen(shop.page(place, goal.instruction_text)))
    for index, step in enumerate(record["steps"], start=1):
        place = shop.after(place, step["action"]) or place
        page = shop.page(place, goal.instruction_text)
        score = shop.reward(place, goal) if place.bought else 0.0
        recorded = {"reward": step["reward"], "done": step["done"]}
        played: dict[str, Any] = {"reward": score, "done": place.bought}
        if not place.bought:
            recorded |= _recorded(step)
            played |= _seen(page)
        searched = parse_action(step["action"])[0] == SEARCH_ACTION
        comparison.searches += searched
        if place.found is not None and place.asin is None and _ranks_otherwise(recorded, played):
            comparison.ranked_otherwise += 1
            return
        comparison.steps += 1
        comparison.compare(f"{where}, step {index} {step['action']!r}", recorded, played)
        if step["done"] or place.bought:
            return


def _ranks_otherwise(recorded: dict[str, Any], played: dict[str, Any]) -> bool:
    """Whether two descriptions of a page of results differ only in the products on the page."""
    return recorded["clickables"] != played["clickables"] and _but_products(recorded) == _but_products(played)


def _but_products(account: dict[str, Any]) -> dict[str, Any]:
    """A description of a page of results up to its first product."""
    buttons = [text for text in account["clickables"] if " " in text]
    head = account["observation"].partition("Next >")[0]
    return {**account, "observation": head, "clickables": (len(account["clickables"]), buttons)}


def _goal(record: dict[str, Any]) -> Goal:
    values = {**record, "attributes": tuple(record["attributes"])}
    return Goal(**{**values, "goal_options": tuple(record["goal_options"].items())})


def _recorded(moment: dict[str, Any]) -> dict[str, Any]:
    available = moment["available"]
    return {
        "observation": moment["observation"],
        "search bar": available["has_search_bar"],
        "clickables": list(available["clickables"]),
    }


def _seen(page: Page) -> dict[str, Any]:
    return {
        "observation": page.observation,
        "search bar": page.has_search_bar,
        "clickables": list(page.clickables),
    }
