/* One register, three acceptors, two proposers: every order of every message, within NB ballots.
 *
 * A ballot is a number, its proposer ballot % 2 (0 is the creator's round 0, proposer 0's). A value
 * is the ballot at which it was first proposed; parent[v] is the value it was made from. Messages
 * are sets that only grow, so loss, duplication and delay need no channels: whoever may receive
 * one, may never.
 *
 * Checked: of two decided values the later descends from the earlier.
 *
 *   spin -a [-DNB=6] [-DMUTANT_...] chunkpaxos.pml && gcc -O2 -DSAFETY -o pan pan.c && ./pan -m100000
 */

#ifndef NB
#define NB 4
#endif
#define NONE 255
#define A 3

#ifdef MUTANT_SMALL_QUORUM
#define OTHERS_TOO(x) true
#else
#define OTHERS_TOO(x) (x)
#endif
#ifdef MUTANT_NO_ACCEPT_CHECK
#define MAY_ACCEPT(x) true
#else
#define MAY_ACCEPT(x) (x)
#endif

/* Acceptors. Ballots are kept one higher, 0 is "none". */
byte promised[A];
byte accepted[A];

/* What was sent: prepare, accept; and, per acceptor, promised and accepted with what was shown. */
bit prepared[NB + 2];
byte value[NB + 2];          /* the value asked to be accepted at a ballot; NONE: none */
byte parent[NB];         /* the value that was there before; NONE: nothing */
byte shown[NB * A];      /* 0: no promise; else 1 + accepted at that time (0: nothing) */
bit voted[NB * A];
byte ready[2];           /* the ballot a proposer may use without preparing, kept one higher */
byte base[2];            /* the value it goes with */

hidden byte best, one, two, at, steps;   /* used within atomic steps only */

#define VOTES(b) (voted[(b) * A] + voted[(b) * A + 1] + voted[(b) * A + 2])
#define DECIDED(b) (VOTES(b) >= 2)

/* Every two decided values: the one at the later ballot descends from the earlier one. */
inline check_chain() {
  d_step {
    one = 0;
    do
    :: one < NB ->
       two = one + 1;
       do
       :: two < NB ->
          if
          :: DECIDED(one) && DECIDED(two) ->
             at = value[two]; steps = 0;
             do
             :: at != value[one] && at != NONE && steps < NB -> at = parent[at]; steps++
             :: else -> break
             od;
             assert(at == value[one])
          :: else
          fi;
          two++
       :: else -> break
       od;
       one++
    :: else -> break
    od
  }
}

inline prepare(b) {
  atomic {
    (b > 0 && !prepared[b] && value[b] == NONE) -> prepared[b] = 1;
    ready[b % 2] = 0
  }
}

inline promise(b, a) {
  atomic {
    (prepared[b] && shown[b * A + a] == 0 && b + 1 >= promised[a]) ->
#ifndef MUTANT_NO_PROMISE
    promised[a] = b + 1;
#endif
#ifdef MUTANT_HIDE_VALUE
    shown[b * A + a] = 1
#else
    shown[b * A + a] = 1 + accepted[a]
#endif
  }
}

/* The highest ballot shown by a majority, or by those chosen here. */
inline choose(b, x, y) {
  atomic {
    (prepared[b] && value[b] == NONE && shown[b * A + x] > 0 && OTHERS_TOO(shown[b * A + y] > 0)) ->
#ifdef MUTANT_FIRST_VALUE
    best = shown[b * A + x] - 1;
#else
    best = (shown[b * A + x] > shown[b * A + y] -> shown[b * A + x] : shown[b * A + y]) - 1;
#endif
    if
    :: best == 0 -> parent[b] = NONE; value[b] = b
    :: best > 0 -> parent[b] = value[best - 1]; value[b] = b      /* change it */
    :: best > 0 -> value[b] = value[best - 1]                     /* write it back */
    fi;
    best = 0
  }
}

/* Round 0 of the creator, and a ballot that a majority promised with the last accept. */
inline create() {
  atomic { value[0] == NONE -> value[0] = 0; parent[0] = NONE }
}

inline go_on(p, b) {
  atomic {
    (ready[p] == b + 1 && b % 2 == p && value[b] == NONE && !prepared[b]) ->
    parent[b] = base[p]; value[b] = b; ready[p] = 0
  }
}

inline vote(b, a) {
  atomic {
    (value[b] != NONE && !voted[b * A + a] && MAY_ACCEPT(b + 1 >= promised[a])) ->
    voted[b * A + a] = 1;
    accepted[a] = b + 1;
#ifdef MUTANT_NO_PIGGYBACK
    promised[a] = b + 1
#else
    promised[a] = (promised[a] > b + 3 -> promised[a] : b + 3)    /* next = b + 2, same proposer */
#endif
    ;
    check_chain()
  }
}

/* A majority voted: the proposer may use the next ballot. */
inline decide(b) {
  atomic {
    (b + 2 < NB && DECIDED(b) && ready[b % 2] == 0 && value[b + 2] == NONE && !prepared[b + 2]) ->
    ready[b % 2] = b + 3; base[b % 2] = value[b]
  }
}

#ifdef MUTANT_SKIP_PREPARE
inline unprepared(b) {
  atomic { b > 0 && value[b] == NONE && !prepared[b] -> parent[b] = NONE; value[b] = b }
}
#endif

#define BALLOT(n) \
  :: prepare(n) \
  :: promise(n, 0) :: promise(n, 1) :: promise(n, 2) \
  :: choose(n, 0, 1) :: choose(n, 1, 2) :: choose(n, 0, 2) \
  :: vote(n, 0) :: vote(n, 1) :: vote(n, 2) \
  :: go_on((n) % 2, n) \
  :: decide(n)

init {
  byte i = 0;
  do
  :: i < NB -> value[i] = NONE; parent[i] = NONE; i++
  :: else -> break
  od;
  base[0] = NONE; base[1] = NONE; i = 0;
end:
  do
  :: create()
  BALLOT(0)
  BALLOT(1)
  BALLOT(2)
  BALLOT(3)
#if NB > 4
  BALLOT(4)
#endif
#if NB > 5
  BALLOT(5)
#endif
#ifdef MUTANT_SKIP_PREPARE
  :: unprepared(1) :: unprepared(2) :: unprepared(3)
#endif
  od
}
