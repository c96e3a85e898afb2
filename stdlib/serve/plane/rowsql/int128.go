package rowsql

import (
	"math"
	"math/bits"
)

// An int128 is a signed integer of 128 bits in two's complement.
type int128 struct {
	hi int64
	lo uint64
}

func wide(v int64) int128          { return int128{v >> 63, uint64(v)} }
func wideUnsigned(v uint64) int128 { return int128{0, v} }

var leastWide = int128{math.MinInt64, 0}

func (a int128) negative() bool { return a.hi < 0 }
func (a int128) zero() bool     { return a.hi == 0 && a.lo == 0 }

func (a int128) neg() int128 {
	lo, carry := bits.Add64(^a.lo, 1, 0)
	return int128{int64(^uint64(a.hi) + carry), lo}
}

func (a int128) compare(b int128) int {
	switch {
	case a.hi < b.hi || a.hi == b.hi && a.lo < b.lo:
		return -1
	case a == b:
		return 0
	}
	return 1
}

func (a int128) add(b int128) (int128, bool) {
	lo, carry := bits.Add64(a.lo, b.lo, 0)
	hi, _ := bits.Add64(uint64(a.hi), uint64(b.hi), carry)
	sum := int128{int64(hi), lo}
	return sum, (a.hi < 0) != (b.hi < 0) || (sum.hi < 0) == (a.hi < 0)
}

func (a int128) sub(b int128) (int128, bool) {
	lo, borrow := bits.Sub64(a.lo, b.lo, 0)
	hi, _ := bits.Sub64(uint64(a.hi), uint64(b.hi), borrow)
	diff := int128{int64(hi), lo}
	return diff, (a.hi < 0) == (b.hi < 0) || (diff.hi < 0) == (a.hi < 0)
}

// abs returns the magnitude, which as an unsigned number is right for the least value too.
func (a int128) abs() (hi, lo uint64) {
	if a.negative() {
		a = a.neg()
	}
	return uint64(a.hi), a.lo
}

// signed returns the number of a magnitude and a sign.
func signed(hi, lo uint64, negative bool) (int128, bool) {
	v := int128{int64(hi), lo}
	if negative {
		return v.neg(), hi < 1<<63 || hi == 1<<63 && lo == 0
	}
	return v, hi < 1<<63
}

func (a int128) mul(b int128) (int128, bool) {
	ahi, alo := a.abs()
	bhi, blo := b.abs()
	if ahi != 0 && bhi != 0 {
		return int128{}, false
	}
	hi, lo := bits.Mul64(alo, blo)
	crossHi, cross := bits.Mul64(ahi, blo)
	crossHi2, cross2 := bits.Mul64(alo, bhi)
	hi, carry := bits.Add64(hi, cross, 0)
	hi, carry2 := bits.Add64(hi, cross2, 0)
	if crossHi|crossHi2|carry|carry2 != 0 {
		return int128{}, false
	}
	return signed(hi, lo, a.negative() != b.negative())
}

// quoRem divides, and truncates towards zero. The divisor is not zero.
func (a int128) quoRem(b int128) (quo, rem int128) {
	ahi, alo := a.abs()
	bhi, blo := b.abs()
	var qhi, qlo, rhi, rlo uint64
	switch {
	case bhi == 0:
		qhi, rlo = ahi/blo, ahi%blo
		qlo, rlo = bits.Div64(rlo, alo, blo)
	default:
		// The quotient has at most 64 bits: one bit after another.
		for i := 127; i >= 0; i-- {
			rhi, rlo = rhi<<1|rlo>>63, rlo<<1
			if i >= 64 {
				rlo |= ahi >> (i - 64) & 1
			} else {
				rlo |= alo >> i & 1
			}
			if rhi > bhi || rhi == bhi && rlo >= blo {
				var borrow uint64
				rlo, borrow = bits.Sub64(rlo, blo, 0)
				rhi, _ = bits.Sub64(rhi, bhi, borrow)
				if i < 64 {
					qlo |= 1 << i
				} else {
					qhi |= 1 << (i - 64)
				}
			}
		}
	}
	quo, _ = signed(qhi, qlo, a.negative() != b.negative())
	rem, _ = signed(rhi, rlo, a.negative())
	return quo, rem
}

// int64 returns the number, if it has at most 64 bits.
func (a int128) int64() (int64, bool) { return int64(a.lo), a.hi == int64(a.lo)>>63 }

// powers are those of ten that a DECIMAL may have.
var powers = func() (p [39]int128) {
	p[0] = wide(1)
	for i := 1; i < len(p); i++ {
		p[i], _ = p[i-1].mul(wide(10))
	}
	return p
}()

// fits reports whether a number has at most width digits.
func (a int128) fits(width int) bool {
	limit := powers[width]
	return a.compare(limit) < 0 && a.compare(limit.neg()) > 0
}

// text writes the number in decimal digits.
func (a int128) appendDigits(b []byte) []byte {
	hi, lo := a.abs()
	var digits [40]byte
	i := len(digits)
	for {
		var rem uint64
		qhi := hi / 10
		lo, rem = bits.Div64(hi%10, lo, 10)
		hi = qhi
		i--
		digits[i] = byte('0' + rem)
		if hi == 0 && lo == 0 {
			return append(b, digits[i:]...)
		}
	}
}

// appendDecimal writes the number with a point before its last digits.
func (a int128) appendDecimal(b []byte, width, scale int) []byte {
	if a.negative() {
		b = append(b, '-')
	}
	if scale == 0 {
		return a.appendDigits(b)
	}
	whole, fraction := a.quoRem(powers[scale])
	// DuckDB leaves out the zero if there is no room for it.
	if width > scale || !whole.zero() {
		b = whole.appendDigits(b)
	}
	b = append(b, '.')
	var digits [40]byte
	text := fraction.appendDigits(digits[:0])
	for range scale - len(text) {
		b = append(b, '0')
	}
	return append(b, text...)
}
