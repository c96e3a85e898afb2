"""Writes what experiments are compared with to experiment.json: the mixture by numerical integration with
scipy, sample ratios with savvi, sample sizes with statsmodels, and the metric of random units with numpy."""

import json
import math

import numpy as np
from savvi.multinomial import Multinomial
from scipy import integrate, optimize, special, stats
from statsmodels.stats.power import NormalIndPower


def rho2(alpha, n):
    """Howard et al. 2021, section 3.5, with the Lambert function."""
    return (-special.lambertw(-(alpha**2) / math.e, -1).real - 1) / n


def log_ratio(r2, n, z):
    """The likelihood ratio of a mean z of n observations, averaged over effects from N(0, r2)."""
    best = n * r2 * z / (n * r2 + 1)
    spread = math.sqrt(r2 / (n * r2 + 1))

    def density(effect, shift):
        return math.exp(
            n * effect * z - n * effect**2 / 2 + stats.norm.logpdf(effect, 0, math.sqrt(r2)) - shift
        )

    shift = n * best * z - n * best**2 / 2 + stats.norm.logpdf(best, 0, math.sqrt(r2))
    value, _ = integrate.quad(
        density, best - 12 * spread, best + 12 * spread, args=(shift,), epsabs=0, epsrel=1e-11
    )
    return math.log(value) + shift


def above(z, r2, n, alpha):
    """How far the ratio of a mean z exceeds 1 / alpha, on a logarithmic scale."""
    return log_ratio(r2, n, z) + math.log(alpha)


mixture = []
for alpha in (0.1, 0.05, 0.01, 0.0005):
    for tuned in (100, 10_000):
        r2 = rho2(alpha, tuned)
        for n in (50, 1000, 200_000):
            width = optimize.brentq(above, 1e-9, 10, args=(r2, n, alpha), xtol=1e-14)
            z = 0.9 * width
            mixture.append([alpha, tuned, n, width, z, min(1, math.exp(-log_ratio(r2, n, z)))])

ratios = []
for first, second, share in (
    (100, 100, 0.5),
    (8200, 1800, 0.2),
    (530, 470, 0.5),
    (90_500, 9500, 0.1),
    (3, 0, 0.01),
):
    test = Multinomial(0.05, np.array([1 - share, share]))
    test.update(np.array([first, second]))
    ratios.append([first, second, share, min(1, float(test.calculate_p_value()))])

sizes = []
for effect, share, alpha, power in ((0.1, 0.5, 0.05, 0.8), (0.05, 0.1, 0.025, 0.9)):
    first = NormalIndPower().solve_power(effect, None, alpha, power, ratio=share / (1 - share))
    sizes.append([effect, share, alpha, power, first / (1 - share)])

# The values of units, which the test writes into a table.
random = np.random.default_rng(7)
units = [
    [round(float(x), 6), float(y)]
    for x, y in zip(random.lognormal(0, 1, 60), random.integers(1, 9, 60), strict=True)
]
x, y = np.array(units).T
metric = x.sum() / y.sum()
d = (x - metric * y) / y.mean()
delta = {"value": metric, "variance": d.var(ddof=1), "skewness": stats.skew(d, bias=False)}

with open("experiment.json", "w") as f:
    json.dump({"mixture": mixture, "ratios": ratios, "sizes": sizes, "units": units, "delta": delta}, f)
    f.write("\n")
