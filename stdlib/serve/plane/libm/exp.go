// Package libm has functions that give the same bits as those of the C library, on which
// Python's libraries rely. Go's math differs from them in the last bit now and then.
package libm

import (
	"math"
	"math/big"
)

// The algorithm of Exp is that of Arm's Optimized Routines, which glibc has used since 2.28:
// exp(x) = 2^(k/N) * exp(r) with |r| <= ln(2)/2N, k whole, and a polynomial for exp(r).
const (
	bits  = 7
	size  = 1 << bits
	shift = 0x1.8p52

	invLn2N   = 0x1.71547652b82fep0 * size
	negLn2HiN = -0x1.62e42fefa0000p-8
	negLn2LoN = -0x1.cf79abc9e3b39p-47

	c2 = 0x1.ffffffffffdbdp-2
	c3 = 0x1.555555555543cp-3
	c4 = 0x1.55555cf172b91p-5
	c5 = 0x1.1111167a4d017p-7
)

// table has for each i the double that is nearest to 2^(i/size), less i/size in its
// exponent, and the relative error of that double.
var table = func() (all [size]struct {
	tail float64
	bits uint64
}) {
	const precision = 300
	root := new(big.Float).SetPrec(precision).SetInt64(2)
	for range bits {
		root.Sqrt(root)
	}
	power := new(big.Float).SetPrec(precision).SetInt64(1)
	for i := range all {
		nearest, _ := power.Float64()
		exact := new(big.Float).SetPrec(precision).SetFloat64(nearest)
		rest := new(big.Float).SetPrec(precision).Sub(power, exact)
		all[i].tail, _ = rest.Quo(rest, exact).Float64()
		all[i].bits = math.Float64bits(nearest) - uint64(i)<<52/size
		power.Mul(power, root)
	}
	return all
}()

// Exp returns e to the power of x, as glibc computes it on a processor with fused
// multiply-add.
func Exp(x float64) float64 {
	top := uint32(math.Float64bits(x)>>52) & 0x7ff
	const tiny, huge = 0x3c9, 0x408 // of 2^-54 and 512
	far := false
	if top-tiny >= huge-tiny {
		switch {
		case top-tiny >= 0x80000000:
			return 1 + x
		case top >= 0x409: // 1024
			switch {
			case math.IsInf(x, -1):
				return 0
			case top >= 0x7ff:
				return 1 + x
			case x < 0:
				return 0
			}
			return math.Inf(1)
		}
		far = true // the result may be subnormal, or too large
	}
	z := invLn2N * x
	kd := z + shift
	ki := math.Float64bits(kd)
	kd -= shift
	r := math.FMA(kd, negLn2LoN, math.FMA(kd, negLn2HiN, x))
	entry := &table[ki%size]
	scale := entry.bits + ki<<(52-bits)
	r2 := r * r
	// tail + r + r2*(c2 + r*c3) + r2*r2*(c4 + r*c5), in the order in which gcc fuses it.
	tmp := math.FMA(r2*r2, math.FMA(r, c5, c4), math.FMA(r2, math.FMA(r, c3, c2), entry.tail+r))
	if far {
		return special(tmp, scale, ki)
	}
	s := math.Float64frombits(scale)
	return math.FMA(s, tmp, s)
}

// special computes results near the ends of the range.
func special(tmp float64, scale, ki uint64) float64 {
	if ki&0x80000000 == 0 { // k > 0: the exponent of scale may have overflowed by at most 460
		scale -= 1009 << 52
		s := math.Float64frombits(scale)
		return 0x1p1009 * math.FMA(s, tmp, s)
	}
	scale += 1022 << 52
	s := math.Float64frombits(scale)
	product := float64(s * tmp) // rounded: gcc uses it twice, and fuses neither
	y := s + product
	if y < 1 {
		// Round once, not twice, if the result is subnormal.
		lo := s - y + product
		hi := 1 + y
		lo = 1 - hi + y + lo
		y = hi + lo - 1
		if y == 0 {
			y = 0 // not -0
		}
	}
	return 0x1p-1022 * y
}
