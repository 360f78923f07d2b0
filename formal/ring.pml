/* Member and coordinator of the ring protocol: crash, restart, loss, duplication, reordering.
 *
 * Cryptography is assumed to work (the ProVerif models show it): a confirmation binds the
 * session, that is the roster "slot" of an attempt, and a session that all confirm has one key.
 * What is checked here is the bookkeeping of sections 6 and 7 of docs/protocol.md.
 *
 * An "attempt" stands for the pair (epoch, attempt), as one rising number 1..ATT.
 * The network is a set of messages that only grows: whatever was sent can arrive late, never,
 * or again (loss, delay, reordering, duplication, retransmission). Any wait can be cut short.
 *
 * Build options (spin -DNAME=.. -a ring.pml):
 *   (none)       honest coordinator; members crash, deadlines pass, lists change
 *   EVIL         the coordinator (or the network) equivocates: two rosters for one attempt, any
 *                subset of those who answered, announcements in any order, bundles that do not add up
 *   INSIDERS     a mask of members that do and sign whatever helps the coordinator (with EVIL)
 *   CONSTRAINED  activation needs the signatures of the neighbours' confirmations only; for the others
 *                a MAC does, which anybody can make who holds a key of the session
 *   REQUIRED     a mask of the members that the policy requires; a majority is not asked for then
 *   LEAST        the policy's least number of members (2)
 *   FREEREVEAL   reveals on any bundle that does not add up, instead of only against the valid signatures
 *                of all n tokens
 *   NOREVEAL     nobody reveals
 *   EPHDISK      the ephemeral survives a restart (else it lives in RAM only)
 *   NOFAULT      no crash, no deadline, one attempt: for the progress claim
 *   REACH        claims that nobody becomes active: must be violated, or the other claims are empty
 *   N, ATT       members (3, at most 7), attempts (2)
 * Mutants, all of which must fail:
 *   M_LATE       reveals after round three, when confirmations do not come
 *   M_ORDER      sends the confirmation before "confirmed" is persisted (with EVIL, N=4, INSIDERS, EPHDISK)
 *   M_NOHW       high water mark in RAM only
 *   M_STALE      a late bundle of an attempt on which it gave way still activates
 *   M_NOALL      activates without the others' confirmations (with EVIL, N=4, INSIDERS)
 *   M_MUTE       activates before it has sent its own (with NOFAULT)
 *   M_ANYSIZE    only the least number is checked, no majority (with EVIL, N=4)
 *   M_EITHER     a majority will do beside the required ones (with EVIL, N=5, REQUIRED)
 */
#ifndef N
#define N 3
#endif
#ifndef ATT
#define ATT 2
#endif
#ifndef LEAST
#define LEAST 2
#endif
#ifndef REQUIRED
#define REQUIRED 0
#endif
#ifndef INSIDERS
#define INSIDERS 0
#endif
#ifdef EVIL
#define SLOTS 2
#else
#define SLOTS 1
#endif
#define IX(a,s)      ((a)*SLOTS+(s))
#define BIT(i)       (1<<(i))
#define ALL          (BIT(N)-1)
#define SIZE(m)      (((m)&1)+(((m)>>1)&1)+(((m)>>2)&1)+(((m)>>3)&1)+(((m)>>4)&1)+(((m)>>5)&1)+(((m)>>6)&1))
#define COVERS(m,r)  (((r) & ~(m)) == 0)
#define MAJORITY(r)  (2*SIZE(r) > N)

/* rule 6: the required members, or where there are none a majority; and the least number */
#ifdef M_ANYSIZE
#define QUORUM(r)    (SIZE(r) >= LEAST)
#else
#ifdef M_EITHER
#define QUORUM(r)    (SIZE(r) >= LEAST && (COVERS(r, REQUIRED) || MAJORITY(r)))
#else
#define QUORUM(r)    (SIZE(r) >= LEAST && COVERS(r, REQUIRED) && (REQUIRED || MAJORITY(r)))
#endif
#endif

/* the number shows in pan's message which claim was violated */
#define CLAIM(number, holds)  assert((holds) || (number == 0))

bool ann[ATT+1];              /* announcements on the network */
byte share[ATT+1];            /* who has sent a share */
byte ros[(ATT+1)*SLOTS];      /* roster of a session, 0 = none */
byte tok[(ATT+1)*SLOTS];      /* who has sent a token */
byte conf[(ATT+1)*SLOTS];     /* who has sent a confirmation, signed */
byte rev[ATT+1];              /* who has revealed the ephemeral of this attempt */
byte key[(ATT+1)*N];          /* ghost: slot+1 under which a member activated an attempt */
byte act[N];                  /* the attempt whose key a member sends under */
byte asked[N];                /* ghost: highest attempt for which it answered round one */
byte q;                       /* scratch, 0 between steps */

#define sentAny(a,i)  ((conf[IX(a,0)] & BIT(i)) || (conf[IX(a,SLOTS-1)] & BIT(i)))
/* where the attacker is a member it has the key anyway; constrained claims nothing for such a roster */
#ifdef CONSTRAINED
#define SECRET(r)     (((r) & INSIDERS) == 0)
#else
#define SECRET(r)     true
#endif
#ifdef FREEREVEAL
#define MAYREVEAL(a,s) true
#else
#ifdef NOREVEAL
#define MAYREVEAL(a,s) false
#else
/* rule 4: what honest members have signed under one th1 adds up, whatever the relay does */
#define MAYREVEAL(a,s) (ros[IX(a,s)] & INSIDERS)
#endif
#endif
/* nobody checks the signature of a token that fits, so whoever holds an ephemeral can send its owner's */
#define TOKENS(a,s)   COVERS(tok[IX(a,s)] | rev[a], ros[IX(a,s)])
/* who holds the key can make every MAC, also that of a member whose own signature comes back to it unchecked */
#define FORGEABLE(a,s) (ros[IX(a,s)] & (rev[a] | INSIDERS))
#ifdef M_MUTE
#define SENT(a,s)     true
#else
#define SENT(a,s)     ((conf[IX(a,s)] & BIT(i)) || FORGEABLE(a,s))
#endif
#define SIGNED(a,s)   (COVERS(conf[IX(a,s)] | BIT(i), ros[IX(a,s)]) && SENT(a,s))

inline neighbours(i, r, nb) {
  nb = 0; q = (i+1)%N; do :: !(r & BIT(q)) -> q = (q+1)%N   :: else -> break od; nb = nb | BIT(q);
  q = (i+N-1)%N;       do :: !(r & BIT(q)) -> q = (q+N-1)%N :: else -> break od; nb = nb | BIT(q);
  nb = nb & (ALL - BIT(i)); q = 0
}
inline activate(i, a, s) {
#ifdef REACH
  CLAIM(9, false);                                                    /* A9 nobody becomes active */
#endif
  CLAIM(1, a > act[i]);                                               /* A1 no rollback of the key */
  act[i] = a; key[a*N+i] = s+1; q = 0;
  do :: q < N ->                                                      /* A2 one key per attempt */
        CLAIM(2, key[a*N+q] == 0 || key[a*N+q] == s+1 || !SECRET(ros[IX(a,0)] | ros[IX(a,SLOTS-1)])); q++
     :: else -> break od; q = 0;
  CLAIM(3, !SECRET(ros[IX(a,s)]) || (rev[a] & ros[IX(a,s)]) == 0)     /* A3 the key is secret */
}
inline reveal(i, a) {
  rev[a] = rev[a] | BIT(i);
  CLAIM(4, !sentAny(a,i)); q = 0;                                     /* A4 no reveal after round three */
  do :: q < N ->
        CLAIM(3, !key[a*N+q] || !SECRET(ros[IX(a,key[a*N+q]-1)]) || !(ros[IX(a,key[a*N+q]-1)] & BIT(i))); q++
     :: else -> break od; q = 0
}

mtype = { idle, shared, tokenSent, unsaved, confirmed };
mtype = { nothing, sent, yes, tombstone };

/* idle -> shared; also from every other state but for a lower or equal number */
inline answer(x) {
#ifdef M_STALE
  if :: ph == confirmed -> oa = a; os = s :: else fi;
#endif
  hw = x; pst = nothing; ps = 0;                 /* persisted before the answer */
  ph = shared; a = x; s = 0;
  CLAIM(5, x > asked[i]); asked[i] = x;                               /* A5 answers an attempt once */
  share[x] = share[x] | BIT(i)
}
/* shared -> tokenSent: one roster only */
inline token(z) {
  s = z; ph = tokenSent;
#ifdef EPHDISK
  pst = sent; ps = z;
#endif
  tok[IX(a,s)] = tok[IX(a,s)] | BIT(i)
}
#define OFFERED(z)  (ph == shared && (ros[IX(a,z)] & BIT(i)) && QUORUM(ros[IX(a,z)]))

proctype Member(byte i) {
  byte hw, ps; mtype pst = nothing;              /* persisted: high water mark; state of that attempt, slot */
  mtype ph = idle; byte a, s, nb, oa, os;        /* in RAM */
  do
  :: atomic { hw < 1 && ann[1] -> answer(1) }
#if ATT > 1
  :: atomic { hw < 2 && ann[2] -> answer(2) }
#endif
#if ATT > 2
  :: atomic { hw < 3 && ann[3] -> answer(3) }
#endif
  :: atomic { OFFERED(0) -> token(0) }
#ifdef EVIL
  :: atomic { OFFERED(1) -> token(1) }
#endif
#ifdef M_ORDER
  :: atomic { ph == tokenSent && TOKENS(a,s) -> conf[IX(a,s)] = conf[IX(a,s)] | BIT(i); ph = unsaved }
  :: atomic { ph == unsaved -> pst = yes; ps = s; ph = confirmed }
#else
  :: atomic { ph == tokenSent && TOKENS(a,s) -> pst = yes; ps = s; ph = confirmed }
#endif
  /* the confirmation goes out after that, and again after a restart */
  :: atomic { ph == confirmed && !(conf[IX(a,s)] & BIT(i)) -> conf[IX(a,s)] = conf[IX(a,s)] | BIT(i);
       CLAIM(4, !(rev[a] & BIT(i))) }                             /* A4 */
#ifdef EVIL
  /* the bundle does not add up: tombstone first, then perhaps one reveal; later bundles change nothing.
     The code forgets the ephemeral at a crash or deadline: here it may still be revealed after one */
  :: atomic { ph == tokenSent -> pst = tombstone; ps = s; ph = idle; s = 0 }
  :: atomic { pst == tombstone && !(rev[hw] & BIT(i)) && MAYREVEAL(hw,ps) -> reveal(i, hw) }
#endif
  /* confirmed -> active */
#ifdef M_NOALL
  :: atomic { ph == confirmed && (conf[IX(a,s)] & BIT(i)) ->
#else
#ifdef CONSTRAINED
  :: atomic { ph == confirmed && (SIGNED(a,s) || FORGEABLE(a,s)) ->
       neighbours(i, ros[IX(a,s)], nb); COVERS(conf[IX(a,s)], nb); nb = 0;
#else
  :: atomic { ph == confirmed && SIGNED(a,s) ->
#endif
#endif
       activate(i, a, s); ph = idle; pst = nothing; ps = 0; s = 0 }
#ifdef M_STALE
  :: atomic { oa && conf[IX(oa,os)] == ros[IX(oa,os)] -> activate(i, oa, os); oa = 0; os = 0 }
#endif
#ifdef M_LATE
  :: atomic { ph == confirmed && (conf[IX(a,s)] & BIT(i)) && !(rev[a] & BIT(i)) -> reveal(i, a) }
#endif
#ifndef NOFAULT
  /* a deadline in shared or tokenSent; a newer membership list, which ends "confirmed" too (else it stays, pending) */
  :: atomic { (ph == shared || ph == tokenSent || ph == confirmed) -> ph = idle; pst = nothing; ps = 0; s = 0 }
  /* crash and restart: RAM is lost, also between persisting and sending */
  :: atomic { true ->
#ifdef M_NOHW
       hw = 0; pst = nothing; ps = 0;
#endif
       ph = idle; a = hw; s = 0; oa = 0; os = 0;
       if :: pst == yes -> ph = confirmed; s = ps
#ifdef EPHDISK
          :: pst == sent -> ph = tokenSent; s = ps
#endif
          :: else fi }
#endif
  od
}

#ifdef EVIL
/* any subset of those who answered, twice for the same attempt */
inline subset(x, z) {
  m = 0; q = 0;
  do :: q < N -> if :: (share[x] & BIT(q)) -> m = m | BIT(q) :: true fi; q++ :: else -> break od;
  q = 0; ros[IX(x,z)] = m; m = 0
}
proctype Coord() {
  byte m;
  do
  :: !ann[1] -> ann[1] = true
#if ATT > 1
  :: !ann[2] -> ann[2] = true
#endif
  :: atomic { ros[IX(1,0)] == 0 && share[1] -> subset(1, 0) }
  :: atomic { ros[IX(1,1)] == 0 && share[1] -> subset(1, 1) }
#if ATT > 1
  :: atomic { ros[IX(2,0)] == 0 && share[2] -> subset(2, 0) }
  :: atomic { ros[IX(2,1)] == 0 && share[2] -> subset(2, 1) }
#endif
  od
}
#else
/* the number is persisted before it is announced; a restart goes on with the next number */
proctype Coord() {
  byte a;
  do
  :: atomic { a == 0 -> a = 1; ann[a] = true }
#ifdef NOFAULT
  :: atomic { a && ros[a] == 0 && share[a] == ALL -> ros[a] = share[a] }
#else
  :: atomic { a && ros[a] == 0 && QUORUM(share[a]) -> ros[a] = share[a] }
  /* a deadline, an abort, a restart or the next rekey */
  :: atomic { a && a < ATT -> a++; ann[a] = true }
#endif
  od
}
#endif

/* insiders have no state to keep: all that they could sign is on the network */
inline corrupt() {
  do :: j < (ATT+1)*SLOTS -> tok[j] = INSIDERS; conf[j] = INSIDERS; j++ :: else -> break od; j = 0;
  do :: j < ATT+1 -> share[j] = INSIDERS; j++ :: else -> break od; j = 0
}
init { atomic {
  byte j = 0;
  corrupt();
  do :: j < N -> if :: INSIDERS & BIT(j) :: else -> run Member(j) fi; j++ :: else -> break od; j = 0;
  run Coord() } }

#ifdef NOFAULT
#define DONE(i) (act[i]==1)
#if N==4
ltl progress { <> (DONE(0) && DONE(1) && DONE(2) && DONE(3)) }
#else
ltl progress { <> (DONE(0) && DONE(1) && DONE(2)) }
#endif
#endif
