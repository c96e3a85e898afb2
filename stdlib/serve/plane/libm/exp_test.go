package libm_test

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/libm"
)

// asks a function of the C library of this machine, through Python, about numbers as bits.
const asks = `
import ctypes, struct, sys
name, number, bits, ctype = sys.argv[1:]
f = getattr(ctypes.CDLL("libm.so.6"), name)
f.restype, f.argtypes = getattr(ctypes, ctype), [getattr(ctypes, ctype)]
for line in sys.stdin:
    x, = struct.unpack(number, struct.pack(bits, int(line)))
    print(struct.unpack(bits, struct.pack(number, f(x)))[0])
`

// cLibrary returns what the C library gives for each x, as bits.
func cLibrary(t *testing.T, args []string, xs []uint64) []uint64 {
	t.Helper()
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil && bytes.Contains(b, []byte("flags")) && !bytes.Contains(b, []byte("fma")) {
		t.Skip("glibc computes exp in another way on this processor, which has no fused multiply-add")
	}
	var in strings.Builder
	for _, x := range xs {
		fmt.Fprintln(&in, x)
	}
	cmd := exec.Command("python3", append([]string{"-c", asks}, args...)...)
	cmd.Stdin, cmd.Stderr = strings.NewReader(in.String()), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []uint64
	for line := range strings.Lines(string(out)) {
		y, err := strconv.ParseUint(strings.TrimSpace(line), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, y)
	}
	if len(all) != len(xs) {
		t.Fatalf("the C library gave %d results for %d numbers", len(all), len(xs))
	}
	return all
}

func TestExpGivesTheBitsOfTheCLibrary(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	xs := []float64{0, math.Copysign(0, -1), 1, -1, 709.782712893384, 709.7827128933841, -745.1332191019411, -745.1332191019412,
		-708.3964185322641, -708.3964185322642, math.Inf(1), math.Inf(-1), math.MaxFloat64, math.SmallestNonzeroFloat64}
	for range 50_000 {
		xs = append(xs, r.NormFloat64(), 10*r.NormFloat64(), 1600*(r.Float64()-0.5), math.Float64frombits(r.Uint64()))
	}
	bits := make([]uint64, len(xs))
	for i, x := range xs {
		bits[i] = math.Float64bits(x)
	}
	wrong := 0
	for i, y := range cLibrary(t, []string{"exp", "d", "Q", "c_double"}, bits) {
		got, want := libm.Exp(xs[i]), math.Float64frombits(y)
		if got != want && !(math.IsNaN(got) && math.IsNaN(want)) {
			if wrong++; wrong <= 5 {
				t.Errorf("exp(%v) is %v, want %v", xs[i], got, want)
			}
		}
	}
	if wrong > 5 {
		t.Errorf("%d of %d differ", wrong, len(xs))
	}
}

func TestExp32GivesTheBitsOfTheCLibrary(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	xs := []float32{0, 1, -1, 88.72283, 88.72284, -103.97207, -103.97208, -87.33654, math.MaxFloat32, float32(math.Inf(1)), float32(math.Inf(-1))}
	for range 50_000 {
		xs = append(xs, float32(r.NormFloat64()), float32(10*r.NormFloat64()), 240*(r.Float32()-0.5), math.Float32frombits(r.Uint32()))
	}
	bits := make([]uint64, len(xs))
	for i, x := range xs {
		bits[i] = uint64(math.Float32bits(x))
	}
	for i, y := range cLibrary(t, []string{"expf", "f", "I", "c_float"}, bits) {
		got, want := libm.Exp32(xs[i]), math.Float32frombits(uint32(y))
		if got != want && !(got != got && want != want) {
			t.Fatalf("expf(%v) is %v, want %v", xs[i], got, want)
		}
	}
}

func BenchmarkExp(b *testing.B) {
	x := 0.1
	for b.Loop() {
		x = libm.Exp(-x)
	}
}
