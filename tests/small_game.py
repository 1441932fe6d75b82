"""A game small enough to work out by hand: two boxes, a coin and a key, one agent."""

DOMAIN = """
(define (domain small)   ; a comment (with parentheses
 (:requirements :adl :typing)
 (:types coin - thing agent box thing)
 (:predicates (at ?a - agent ?b - box) (shut ?b - box) (in ?t - thing ?b - box) (has ?a - agent ?t - thing)
   (full ?a - agent) (lit) (dusty ?t - thing))
 (:action go :parameters (?a - agent ?from - box ?b - box)
   :precondition (at ?a ?from) :effect (and (not (at ?a ?from)) (at ?a ?b) (increase (total-cost) 1)))
 (:action open :parameters (?a - agent ?b - box)
   :precondition (and (at ?a ?b) (shut ?b)) :effect (not (shut ?b)))
 (:action take :parameters (?a - agent ?t - thing ?b - box)
   :precondition (and (at ?a ?b) (in ?t ?b) (not (shut ?b)) (not (full ?a)))
   :effect (and (has ?a ?t) (full ?a) (not (in ?t ?b))))
 (:action drop :parameters (?a - agent ?t - thing ?b - box)
   :precondition (and (at ?a ?b) (has ?a ?t) (or (not (shut ?b)) (lit)))
   :effect (and (in ?t ?b) (not (has ?a ?t)) (not (full ?a))))
 (:action flip :parameters (?a - agent) :precondition ()
   :effect (and (when (lit) (not (lit))) (when (not (lit)) (lit))))
 (:action dust :parameters (?a - agent)
   :precondition (exists (?t - thing) (dusty ?t))
   :effect (forall (?t - thing) (when (dusty ?t) (not (dusty ?t)))))
 (:action say :parameters (?a - agent ?t - thing)
   :precondition (or (has ?a ?t) (exists (?b - box) (and (at ?a ?b) (in ?t ?b) (not (shut ?b)))))
   :effect (dusty ?t))
)
"""

GRAMMAR = '''
# a comment
grammar :: """
{
  "intro": [{"rhs": "Hello. #look#"}],
  "look": [
    {"condition": "at(a:agent, b:box) & shut(b:box)", "rhs": "A shut [{b.name | at(a:agent, b:box)}]."},
    {"rhs": "You see [{#item(t)# | at(a:agent, b:box) & in(t:thing, b:box)}]."}
  ],
  "item(t)": [
    {"condition": "dusty(t:thing)", "rhs": "{t.indefinite + ' dusty ' + t.name}"},
    {"rhs": "{t.indefinite} {t.name or t.id}"}
  ],
  "list_empty": [{"rhs": "nothing"}],
  "list_separator": [{"rhs": ", "}],
  "list_last_separator": [{"rhs": ", and "}]
}
""";
action go { template :: "go to {b}"; feedback :: "#look#"; }
action open { template :: "open {b}"; feedback :: "#look#"; }
action take { template :: "take {t}"; feedback :: "#took#";
  grammar :: """{"took": [{"rhs": "Gone from the box: [{x.name | not_in(x:thing, b:box)}]."}]}"""; }
action drop { template :: "drop {t}"; feedback :: "#look#"; }
action flip { template :: "flip"; feedback :: "#light#";
  grammar :: """{"light": [{"condition": "lit()", "rhs": "It is light."}, {"rhs": "It is dark."}]}"""; }
action dust { template :: "dust"; feedback :: "Clean."; }
action say { template :: "say {t.name}"; feedback :: "{t.definite} {t.name}, {t.type} {t.id}"; }
'''

PROBLEM = """
(define (problem one) (:domain small)
 (:objects me - agent red_box blue_box - box old_coin - coin a_key - thing)
 (:init (at me red_box) (shut blue_box) (in old_coin red_box) (in a_key red_box) (= (total-cost) 0))
 (:goal (and (forall (?t - thing) (in ?t blue_box)) (not (lit)))))
"""


def small_game(domain: str = DOMAIN, grammar: str = GRAMMAR, problem: str = PROBLEM) -> dict[str, str]:
    """The game as a file would hold it."""
    return {"pddl_domain": domain, "grammar": grammar, "pddl_problem": problem}
