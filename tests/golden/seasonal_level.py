#!/usr/bin/env python3
"""The method seasonal_level once more, in numpy and numba: what tests/training.rs compares the trainer and the fold with.

Run as: python3 tests/golden/seasonal_level.py > tests/golden/seasonal_level.csv
"""
import sys
import numpy as np
from numba import njit

# ---------------------------------------------------------------- constants (all in one place; dataflows/src/tracking.rs gives the reasons)
PAR = dict(
    hist_days=14.0,   # training window
    smooth=1,         # profile smoothing half-width, buckets
    sharp=5.0, sharp_n=6,        # ... but not where a slot differs from that by so many standard errors, of so many values at least
    weekly_gain=0.85, # weekday/weekend profile only if it cuts the residual scale below this share
    ff=0.03,          # scale floor as share of the training range q01..q99
    a_slow=0.03,      # slow level: step per bucket
    clip_slow=2.0,    # slow level: a residual counts at most this many scales
    a_fast=0.9,       # fast level: step per bucket
    w_drift=12.0,     # drift view: EWMA over this many buckets (alpha = 2/(w+1))
    clip_drift=8.0,   # drift view: a residual counts at most this many scales
    block=0.25,       # calibration block in days (peaks are collected per block)
    block_min=12.0,   # ... but never fewer buckets
    half=14.0,        # half-life of the peak histogram, days
    q_typ=0.5, q_rare=0.95,      # "typical" and "rare" block peak
    r_typ=1.5, r_rare=4.75,       # what they are mapped to (spike view) with a full training window
    r_rare0=2.75, trust_n=2880.0, # ... and with no history yet; full trust at so many buckets
    rd_typ=1.5, rd_rare=3.0,     # the same for the drift view
    k_spike=0.93, k_drift=0.62, k_stuck=1.35,   # so that 3 is the threshold
    stuck_mult=2.0, stuck_min=24.0, stuck_maxrun=72.0, stuck_share=0.5, stuck_days=3.0, stuck_cap=6.0,
    h_ref=2.5, h_half=0.25, h_min=72.0,   # habituation: reference, half-life in days, but at least so many buckets
    h_fast=3.0, h_quiet=2.0,     # ... so many times as fast within so many scales
    edge=5.0,                    # what comes a bucket early or late is as expected where the profile jumps by so many scales
    few=20.0, few_max=3.0,       # of fewer peaks one counts as at most so many times the rare one so far
    k_shift=0.93, a_mid=0.3, rs_typ=0.8, rs_rare=4.0, rs_pow=3.0, shift_share=0.5,   # the shift view: weight, middle level, peaks, least divisor
    season=1.0, same=1.0,   # switches for the ablation
    threshold=3.0)
NB = 16; LO = np.log(0.5); HI = np.log(300.0); LR = (HI - LO) / (NB - 1)
KEYS = list(PAR)
IX = {k: i for i, k in enumerate(KEYS)}
def pvec(**kw): return np.array([float({**PAR, **kw}[k]) for k in KEYS])
(A_SLOW, CLIP_SLOW, A_FAST, W_DRIFT, CLIP_DRIFT, Q_TYP, Q_RARE, R_TYP, RD_TYP, RD_RARE, K_SPIKE, K_DRIFT, K_STUCK, STUCK_CAP, H_REF, H_FAST, H_QUIET, EDGE, FEW, FEW_MAX, SAME, K_SHIFT, A_MID, RS_TYP, RS_RARE, RS_POW, SHIFT_SHARE, R_RARE) = [IX[k] for k in
    'a_slow clip_slow a_fast w_drift clip_drift q_typ q_rare r_typ rd_typ rd_rare k_spike k_drift k_stuck stuck_cap h_ref h_fast h_quiet edge few few_max same k_shift a_mid rs_typ rs_rare rs_pow shift_share r_rare'.split()]

# ---------------------------------------------------------------- training
def mad(x):
    x = np.asarray(x, float); x = x[np.isfinite(x)]
    return 1.4826 * np.median(np.abs(x - np.median(x))) if len(x) else 0.0

@njit
def centred_median(y, P):
    n = len(y); o = np.empty(n); h = P // 2
    for i in range(n):
        a = max(0, i - h); b = min(n, i - h + P)
        w = y[a:b]; w = w[np.isfinite(w)]
        o[i] = np.median(w) if len(w) else np.nan
    return o

FADE = 3 * 3600  # the weekend's profile is faded in and out over so many seconds around midnight
def weekend_share(t):
    monday = (t + 3 * 86400) % (7 * 86400)
    into = np.minimum(np.maximum(monday - 5 * 86400, -monday), 7 * 86400 - monday)
    return np.clip(0.5 + into / (2 * FADE), 0.0, 1.0)
def seasonal(t, profile, slot, P):
    return profile[slot] + weekend_share(t) * (profile[slot + P] - profile[slot])
def profile(d, slot, P, smooth):
    """median per slot of the detrended history, empty slots interpolated round the clock, lightly smoothed where it is not sharp"""
    m = np.full(P, np.nan); own = np.zeros(P); num = np.ones(P); o = np.argsort(slot, kind='stable'); ss, dd = slot[o], d[o]; b = np.searchsorted(ss, np.arange(P + 1))
    for k in range(P):
        x = dd[b[k]:b[k + 1]]; x = x[np.isfinite(x)]
        if len(x): m[k] = np.median(x); own[k] = (np.quantile(x, .9) - np.quantile(x, .1)) / 2.563103131089201; num[k] = len(x)
    ok = np.isfinite(m)
    if not ok.any(): return np.zeros(P)
    m = np.interp(np.arange(P), np.flatnonzero(ok), m[ok], period=P)
    if not smooth: return m
    w = np.hanning(2 * smooth + 3)[1:-1]; w /= w.sum(); even = np.convolve(np.r_[m[-smooth:], m, m[:smooth]], w, 'valid')
    noise = 1.4826 * np.median(np.abs(dd - m[ss])); error = np.sqrt(np.pi / 2 / num) * np.maximum(noise, own)
    return np.where((num >= PAR['sharp_n']) & (np.abs(m - even) > PAR['sharp'] * error), m, even)

class Model: pass

def train(t, v, interval, p=None):
    """t seconds (sorted), v values of the history (NaN = no value). Gaps are gaps: nothing is filled in."""
    p = dict(PAR) if p is None else p
    m = Model(); P = m.P = max(2, int(round(86400 / interval))); m.interval = interval
    ok = np.isfinite(v); t, v = t[ok], v[ok]
    if len(t): k = t > t[-1] - p['hist_days'] * 86400; t, v = t[k], v[k]
    n = len(v); m.n = n; slot = (t // interval) % P; kind = (((t // 86400) + 3) % 7 >= 5).astype(np.int64)
    m.profile = np.zeros(2 * P); m.weekly = False
    span = (t[-1] - t[0]) / interval + 1 if n else 0
    rng = np.quantile(v, .99) - np.quantile(v, .01) if n else 0.0
    if p['season'] and n >= 2 * P * 0.75 and span >= 2 * P * 0.98:
        S = profile(v - centred_median(v, P), slot, P, p['smooth']); m.profile = np.r_[S, S]
        if span >= 13 * P and (kind == 1).sum() >= 2 * P and (kind == 0).sum() >= 4 * P:
            d7 = v - centred_median(v, 7 * P)
            one = profile(d7, slot, P, p['smooth']); two = [profile(d7[kind == j], slot[kind == j], P, p['smooth']) for j in (0, 1)]
            two = np.r_[two[0], two[1]]
            if mad(d7 - seasonal(t, two, slot, P)) < p['weekly_gain'] * mad(d7 - one[slot]): m.profile = two; m.weekly = True
    y = v - seasonal(t, m.profile, slot, P) if n else v
    big = np.max(np.abs(v)) if n else 1.0
    m.floor = max(p['ff'] * rng, 1e-9 * max(1.0, big), 1e-12)
    m.trust = min(1.0, n / p['trust_n'])
    m.r_rare = p['r_rare0'] + (p['r_rare'] - p['r_rare0']) * m.trust
    m.B = max(int(p['block'] * P), int(p['block_min'])); m.dec = 0.5 ** (m.B / (p['half'] * P)); m.hdec = 0.5 ** (1.0 / max(p['h_min'], p['h_half'] * P))
    # scales: two passes of the level filter over the history
    L0 = np.median(y[:max(1, min(n, P // 2))]) if n else np.nan
    b = min(n // 4, P); s = max(mad(y - centred_median(y, P)) if n else 0.0, m.floor)
    for _ in range(2):
        es, ef = levels(y, L0, p['a_slow'], p['clip_slow'] * s, p['a_fast']); s = max(mad(es[b:]), m.floor)
    m.s_slow = s; m.s_fast = max(mad(ef[b:]), m.floor)
    m.s_shift = max(mad(departures(y, p['a_mid'])[b:]), m.floor)
    d = ewma(np.clip(es / s, -p['clip_drift'], p['clip_drift']), 2 / (p['w_drift'] + 1)); m.s_drift = max(mad(d[b:]), 0.15)
    # standing still: longest run of equal values seen; only for series that normally move
    run = runs_equal(v); m.stuck_ref = np.inf
    if n >= p['stuck_days'] * P and n and (run > 0).mean() <= p['stuck_share'] and run.max() <= p['stuck_maxrun']:
        m.stuck_ref = max(p['stuck_mult'] * run.max(), p['stuck_min'])
    # prime the state by folding the history itself
    m.state = new_state(L0)
    pv = np.array([float(p[k]) for k in KEYS])
    if n: run_fold(m, m.state, t, v, pv)
    return m

@njit
def levels(y, L, a, cs, af):
    n = len(y); es = np.zeros(n); ef = np.zeros(n); F = y[0] if n else 0.0
    for i in range(n):
        es[i] = y[i] - L; L += a * min(max(es[i], -cs), cs)
        ef[i] = y[i] - F; F += af * ef[i]
    return es, ef
@njit
def departures(y, a):
    # how far each value is from the middle level as it was two before
    n = len(y); o = np.zeros(n); mid = y[0] if n else 0.0; before = mid
    for i in range(n): o[i] = y[i] - before; before = mid; mid += a * (y[i] - mid)
    return o
@njit
def ewma(x, a):
    o = np.zeros(len(x)); m = 0.0
    for i in range(len(x)): m += a * (x[i] - m); o[i] = m
    return o
@njit
def runs_equal(v):
    o = np.zeros(len(v))
    for i in range(1, len(v)): o[i] = o[i - 1] + 1 if v[i] == v[i - 1] else 0.0
    return o

# ---------------------------------------------------------------- the fold
# state: 0 slow level, 1 fast level, 2 drift, 3 run length, 4 last value, 5 its bucket, 6 habituation, 7 buckets in block, 8/9 block peak spike/drift,
#        10/11 histogram mass, 12.. spike histogram, 12+NB.. drift histogram, then what the profile said last, and the habituation of the drift view;
#        X.. middle level, the same before the last bucket, the last bucket, buckets in a row, block peak shift, histogram mass, the histogram, and whether the last bucket was told of
X = 14 + 2 * NB
def new_state(L0): s = np.zeros(X + 7 + NB); s[0] = L0; s[1] = np.nan; s[4] = np.nan; s[5] = np.nan; return s

@njit
def hist_add(h, x, dec):
    u = min(max((np.log(max(x, 1e-9)) - LO) / LR, 0.0), NB - 1.0); j = min(int(u), NB - 2); f = u - j
    for b in range(NB): h[b] *= dec
    h[j] += 1.0 - f; h[j + 1] += f
@njit
def hist_q(h, W, q):
    """quantile over bin centres, log-interpolated; the lowest bin means 'no peak to speak of'"""
    c = 0.0
    for b in range(NB):
        pc = c; c += h[b] / W
        if c >= q: return np.exp(LO + LR * (b - 0.5 + (q - pc) / max(c - pc, 1e-12)))
    return np.exp(HI)

@njit
def step(st, x, usual, prior, later, at, B, dec, hdec, s_slow, s_fast, s_shift, s_drift, stuck_ref, r_rare, p):
    """one closed bucket; returns expected, z (signed)"""
    if not np.isfinite(st[0]): st[0] = x - usual
    lo = min(prior, later); hi = max(prior, later); seas = usual
    was_off = st[4] - st[X - 2] - st[0] if at - st[5] <= 1 else 0.0
    if hi - lo > p[EDGE] * s_slow and not (was_off * (x - st[0] - usual) > 0 and abs(was_off) > p[H_QUIET] * s_slow):
        seas = min(max(x - st[0], min(lo, usual)), max(hi, usual))
    st[X - 2] = usual; y = x - seas
    first = st[1]
    if not np.isfinite(first): st[1] = y
    expected = seas + st[0]
    # after a gap: a random walk that does not stray too far
    gap = at - st[5] - 1 if np.isfinite(st[5]) else 0.0; st[5] = at; s_jump = s_fast
    if gap > 0:
        s_jump = min(s_fast * np.sqrt(gap + 1), 4.0 * max(s_slow, s_fast))
        st[2] *= (1 - 2 / (p[W_DRIFT] + 1)) ** gap; st[6] *= hdec ** (p[H_FAST] * gap); st[X - 1] *= hdec ** (p[H_FAST] * gap)
    es = y - st[0]; ef = y - st[1]
    # two buckets in a row to one side of where it was before both
    zh = 0.0; zhp = 0.0
    if gap > 0: st[X + 3] = 0; st[X] = y
    if st[X + 3] >= 2 and (st[X + 2] - st[X + 1]) * (y - st[X + 1]) > 0 and (y - st[X + 1]) * es > 0:
        zhp = min(min(min(abs(y - st[X + 1]), abs(st[X + 2] - st[X + 1])), 16.0 * abs(es)) / s_shift, 300.0); zh = zhp
        if abs(st[X + 1] - st[0]) > 3.0 * s_slow and abs(es) <= s_slow: zh = min(zh, abs(es) / s_slow)
    if st[X + 6 + NB]: zh = 0.0
    if not np.isfinite(first): st[X] = y
    st[X + 3] += 1; st[X + 1] = st[X]; st[X] += p[A_MID] * (y - st[X]); st[X + 2] = y
    # views
    zs = min(min(abs(ef), 16.0 * abs(es)) / s_jump, 300.0) if es * ef > 0 or p[SAME] == 0 else 0.0
    # a return from a deviation that ends within what is usual counts by what it is off now
    zp = zs
    if zs > 0 and abs(st[1] - st[0]) > 3.0 * s_slow and abs(es) <= s_slow: zs = min(zs, abs(es) / s_slow)
    st[2] += 2 / (p[W_DRIFT] + 1) * (min(max(es / s_slow, -p[CLIP_DRIFT]), p[CLIP_DRIFT]) - st[2])
    zd = abs(st[2]) / s_drift
    if es * st[2] <= 0 or abs(es) < 0.5 * abs(st[2]) * s_slow: zd = 0.0  # back at what is expected
    st[3] = st[3] + 1 if x == st[4] else 0.0
    zk = min(3.0 * st[3] / stuck_ref, p[STUCK_CAP])
    # calibration against the series' own peaks
    ds = 1.0; dd = 1.0
    if st[10] > 0:
        ds = max(1.0, max(hist_q(st[12:12 + NB], st[10], p[Q_TYP]) / p[R_TYP], hist_q(st[12:12 + NB], st[10], p[Q_RARE]) / r_rare))
        dd = max(1.0, max(hist_q(st[12 + NB:12 + 2 * NB], st[11], p[Q_TYP]) / p[RD_TYP], hist_q(st[12 + NB:12 + 2 * NB], st[11], p[Q_RARE]) / p[RD_RARE]))
    rs_rare = p[RS_RARE] * (r_rare / p[R_RARE]) ** p[RS_POW]; dh = max(1.0, p[SHIFT_SHARE] * ds)
    if st[X + 5] > 0: dh = max(dh, max(hist_q(st[X + 6:X + 6 + NB], st[X + 5], p[Q_TYP]) / p[RS_TYP], hist_q(st[X + 6:X + 6 + NB], st[X + 5], p[Q_RARE]) / rs_rare))
    drift = p[K_DRIFT] * zd / dd
    # habituation; of the drift view it fades no further than that view does
    st[X - 1] = max(st[X - 1], st[6])
    z = max(max(max(p[K_SPIKE] * zs / ds, p[K_SHIFT] * zh / dh), p[K_STUCK] * zk) / max(1.0, st[6] / p[H_REF]), drift / max(1.0, st[X - 1] / p[H_REF]))
    st[X + 6 + NB] = z >= 3.0
    st[6] = max(st[6] * (hdec ** p[H_FAST] if abs(es) < p[H_QUIET] * s_slow else hdec), min(z, 20.0))
    st[X - 1] = max(min(st[X - 1], drift), st[6])
    # learn
    st[0] += p[A_SLOW] * min(max(es, -p[CLIP_SLOW] * s_slow), p[CLIP_SLOW] * s_slow)
    st[1] += p[A_FAST] * ef
    st[8] = max(st[8], zp); st[X + 4] = max(st[X + 4], zhp); st[9] = max(st[9], zd); st[7] += 1
    if st[7] >= B:
        if st[10] < p[FEW]: st[8] = min(st[8], p[FEW_MAX] * r_rare * ds)  # how rare it is is not known yet
        if st[X + 5] < p[FEW]: st[X + 4] = min(st[X + 4], p[FEW_MAX] * rs_rare * dh)
        st[X + 5] = st[X + 5] * dec + 1; hist_add(st[X + 6:X + 6 + NB], st[X + 4], dec); st[X + 4] = 0
        st[10] = st[10] * dec + 1; st[11] = st[11] * dec + 1
        hist_add(st[12:12 + NB], st[8], dec); hist_add(st[12 + NB:12 + 2 * NB], st[9], dec); st[7] = 0; st[8] = 0; st[9] = 0
    st[4] = x
    return expected, z if es >= 0 else -z

@njit
def _run(st, v, seas, prior, later, at, B, dec, hdec, a, c, f, d, k, r, p, ex, z):
    for i in range(len(v)):
        if np.isfinite(v[i]): ex[i], z[i] = step(st, v[i], seas[i], prior[i], later[i], at[i], B, dec, hdec, a, c, f, d, k, r, p)
        else: ex[i] = seas[i] + st[0]; z[i] = 0.0

def run_fold(m, st, t, v, pv):
    ex = np.zeros(len(v)); z = np.zeros(len(v)); slot = (t // m.interval) % m.P
    around = [seasonal(t, m.profile, (slot + k) % m.P, m.P) for k in (0, -1, 1)]
    _run(st, v, *around, t / m.interval, m.B, m.dec, m.hdec, m.s_slow, m.s_fast, m.s_shift, m.s_drift, m.stuck_ref, m.r_rare, pv, ex, z)
    return ex, z

def value(i):
    """half an hour each; the formula is in tests/training.rs as well"""
    phase = i % 48 / 48 * 2 * np.pi; noise = (i * 7919 % 1009) / 1009 - 0.5
    v = 50 + 10 * np.sin(phase) + 4 * noise + 25 * (i % 48 in (9, 10))
    if i == 500: v += 30
    if 560 <= i < 600: v += 12
    if i in (330, 540): v = np.nan
    return v

def main():
    n0, n = 480, 672; i = np.arange(n); t = 1767571200 + 1800 * i; v = np.array([value(k) for k in i]); v[620:650] = v[619]
    m = train(t[:n0], v[:n0], 1800); ex, z = run_fold(m, m.state.copy(), t[n0:], v[n0:], pvec())
    print('i,value,expected,z_score')
    for k in range(n0, n):
        if np.isfinite(v[k]): print(f'{k},{v[k]!r},{ex[k - n0]!r},{z[k - n0]!r}'.replace('np.float64(', '').replace(')', ''))
if __name__ == '__main__': main()
