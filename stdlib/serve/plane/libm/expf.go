package libm

import "math"

// The algorithm of Exp32 is that of expf in Arm's Optimized Routines: as Exp, with a smaller
// table, in float64.
const (
	bits32 = 5
	size32 = 1 << bits32

	invLn2N32 = 0x1.71547652b82fep+0 * size32

	d0 = 0x1.c6af84b912394p-5 / size32 / size32 / size32
	d1 = 0x1.ebfce50fac4f3p-3 / size32 / size32
	d2 = 0x1.62e42ff0c52d6p-1 / size32
)

var table32 = func() (all [size32]uint64) {
	for i := range all {
		all[i] = table[i<<(bits-bits32)].bits
	}
	return all
}()

// Exp32 returns e to the power of x, as glibc's expf computes it on a processor with fused
// multiply-add.
func Exp32(x float32) float32 {
	switch {
	case x != x || x == float32(math.Inf(1)):
		return x + x
	case x > 0x1.62e42ep6:
		return float32(math.Inf(1))
	case x < -0x1.9fe368p6:
		return 0
	}
	z := invLn2N32 * float64(x)
	kd := z + shift
	ki := math.Float64bits(kd)
	kd -= shift
	r := z - kd
	s := math.Float64frombits(table32[ki%size32] + ki<<(52-bits32))
	z = math.FMA(d0, r, d1)
	y := math.FMA(d2, r, 1)
	y = math.FMA(z, r*r, y)
	return float32(y * s)
}
