;; A small household: one agent in one room, receptacles to walk to, things to carry.
;; Written for generated games: a place is a receptacle itself, what is opened stays open,
;; and which thing goes where is a plain fact of each game.

(define (domain household)
 (:requirements :adl :typing)

 (:types agent receptacle object rtype otype)

 (:predicates
    (midroom ?a - agent)                       ; the agent has not gone anywhere yet
    (nearby ?a - agent ?r - receptacle)        ; the agent stands at the receptacle
    (rkind ?r - receptacle ?t - rtype)         ; drawer_1 is a drawer
    (okind ?o - object ?t - otype)             ; mug_2 is a mug
    (closed ?r - receptacle)                   ; what is in it can be neither seen nor reached
    (cleans ?r - receptacle)
    (heats ?r - receptacle)
    (cools ?r - receptacle)
    (lies ?o - object ?r - receptacle)         ; the thing is in or on the receptacle
    (suits ?o - object ?r - receptacle)        ; the thing may be put there
    (portable ?o - object)
    (cleanable ?o - object)
    (heatable ?o - object)
    (coolable ?o - object)
    (lightsource ?o - object)
    (clean ?o - object)
    (hot ?o - object)
    (cold ?o - object)
    (lit ?o - object)
    (holds ?a - agent ?o - object)
    (busy ?a - agent)                          ; the agent holds something: one thing at a time
 )

 ;; Two ways to go: from the middle of the room, and from one receptacle to another.
 (:action Approach
    :parameters (?a - agent ?r - receptacle)
    :precondition (midroom ?a)
    :effect (and (not (midroom ?a)) (nearby ?a ?r))
 )

 (:action GoTo
    :parameters (?a - agent ?from - receptacle ?r - receptacle)
    :precondition (and (nearby ?a ?from) (not (nearby ?a ?r)))
    :effect (and (not (nearby ?a ?from)) (nearby ?a ?r))
 )

 (:action Open
    :parameters (?a - agent ?r - receptacle)
    :precondition (and (nearby ?a ?r) (closed ?r))
    :effect (not (closed ?r))
 )

 (:action Take
    :parameters (?a - agent ?o - object ?r - receptacle)
    :precondition (and
        (nearby ?a ?r)
        (not (closed ?r))
        (lies ?o ?r)
        (portable ?o)
        (not (busy ?a))
    )
    :effect (and (not (lies ?o ?r)) (holds ?a ?o) (busy ?a))
 )

 (:action Put
    :parameters (?a - agent ?o - object ?r - receptacle)
    :precondition (and
        (nearby ?a ?r)
        (not (closed ?r))
        (suits ?o ?r)
        (holds ?a ?o)
    )
    :effect (and (lies ?o ?r) (not (holds ?a ?o)) (not (busy ?a)))
 )

 (:action Clean
    :parameters (?a - agent ?o - object ?r - receptacle)
    :precondition (and
        (nearby ?a ?r)
        (cleans ?r)
        (cleanable ?o)
        (not (clean ?o))
        (holds ?a ?o)
    )
    :effect (clean ?o)
 )

 ;; Heating and cooling include opening and closing the appliance.
 (:action Heat
    :parameters (?a - agent ?o - object ?r - receptacle)
    :precondition (and
        (nearby ?a ?r)
        (heats ?r)
        (heatable ?o)
        (not (hot ?o))
        (holds ?a ?o)
    )
    :effect (and (hot ?o) (not (cold ?o)))
 )

 (:action Cool
    :parameters (?a - agent ?o - object ?r - receptacle)
    :precondition (and
        (nearby ?a ?r)
        (cools ?r)
        (coolable ?o)
        (not (cold ?o))
        (holds ?a ?o)
    )
    :effect (and (cold ?o) (not (hot ?o)))
 )

 ;; The lamp is ?l because texts list things as ?o and ?x: a thing that is bound is left out of a list of others.
 (:action TurnOn
    :parameters (?a - agent ?l - object ?r - receptacle)
    :precondition (and
        (nearby ?a ?r)
        (not (closed ?r))
        (lies ?l ?r)
        (lightsource ?l)
        (not (lit ?l))
    )
    :effect (lit ?l)
 )
)
