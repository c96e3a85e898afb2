package ir

import (
	"math"
	"testing"
)

func TestPartsAreWhatAUnitGets(t *testing.T) {
	whole := Pool{Resources: Resources{GPU: 4, GPUMemory: 80, GPUModel: "H100"}}
	unsaid := Pool{Resources: Resources{GPU: 4}}
	shared := Pool{Resources: Resources{GPU: 2, GPUMemory: 80}, Shares: 8}
	cut := Pool{Resources: Resources{GPU: 2}, Slices: []Slice{{"l", 1, 40}, {"m", 1, 20}, {"s", 4, 10}}}
	for _, c := range []struct {
		name string
		pool Pool
		need Resources
		want Parts
		has  string
	}{
		{"none", Pool{}, Resources{}, Parts{}, ""},
		{"of nothing", Pool{}, Resources{GPU: 1}, Parts{Count: 1, Each: 1}, "no GPU"},
		{"devices", whole, Resources{GPU: 3, GPUMemory: 80, GPUModel: "H100"}, Parts{Count: 3, Each: 1}, ""},
		{"devices of any memory", unsaid, Resources{GPU: 4}, Parts{Count: 4, Each: 1}, ""},
		{"more than there are", whole, Resources{GPU: 5}, Parts{Count: 5, Each: 1}, "4 GPUs"},
		{"larger ones", whole, Resources{GPU: 1, GPUMemory: 81}, Parts{Count: 1, Each: 1}, "GPUs of 80B each"},
		{"another model", whole, Resources{GPU: 1, GPUModel: "h100"}, Parts{Count: 1, Each: 1}, `GPUs of model "H100"`},
		{"a model of nothing said", unsaid, Resources{GPU: 1, GPUModel: "H100"}, Parts{Count: 1, Each: 1}, "GPUs without a declared model"},
		{"memory of nothing said", unsaid, Resources{GPU: 1, GPUMemory: 1}, Parts{Count: 1, Each: 1}, "GPUs whose memory is not declared"},
		{"a slice of a whole one", whole, Resources{GPU: 1, GPUSlice: "s"}, Parts{Count: 1, Each: 1}, "GPUs that are not sliced"},
		{"exact shares", shared, Resources{GPU: 2, GPUMemory: 30}, Parts{Count: 2, Each: 3}, ""},
		{"shares rounded up", shared, Resources{GPU: 1, GPUMemory: 31}, Parts{Count: 1, Each: 4}, ""},
		{"all shares", shared, Resources{GPU: 2}, Parts{Count: 2, Each: 8}, ""},
		{"shares that do not go together", shared, Resources{GPU: 3, GPUMemory: 50}, Parts{Count: 3, Each: 5}, "2 GPUs, each with room for 1 of them"},
		{"no share is so large", shared, Resources{GPU: 1, GPUMemory: 90}, Parts{Count: 1, Each: 1}, "GPUs of 80B each"},
		{"shares of much memory", Pool{Resources: Resources{GPU: 1, GPUMemory: math.MaxInt64}, Shares: 8}, Resources{GPU: 1, GPUMemory: math.MaxInt64}, Parts{Count: 1, Each: 8}, ""},
		{"the smallest slice", cut, Resources{GPU: 1, GPUMemory: 5}, Parts{Count: 1, Each: 1, Slice: "s"}, ""},
		{"a slice that has it", cut, Resources{GPU: 1, GPUMemory: 11}, Parts{Count: 1, Each: 1, Slice: "m"}, ""},
		{"the smallest of which there are so many", cut, Resources{GPU: 2, GPUMemory: 5}, Parts{Count: 2, Each: 1, Slice: "s"}, ""},
		{"a slice by name", cut, Resources{GPU: 2, GPUSlice: "l", GPUMemory: 40}, Parts{Count: 2, Each: 1, Slice: "l"}, ""},
		{"more of a slice", cut, Resources{GPU: 3, GPUSlice: "l"}, Parts{Count: 3, Each: 1, Slice: "l"}, "2 slices l"},
		{"a slice that is too small", cut, Resources{GPU: 1, GPUSlice: "s", GPUMemory: 11}, Parts{Count: 1, Each: 1, Slice: "s"}, "slices of at most 10B"},
		{"no slice is so large", cut, Resources{GPU: 1, GPUMemory: 41}, Parts{Count: 1, Each: 1}, "slices of at most 40B"},
		{"no slice of that name", cut, Resources{GPU: 1, GPUSlice: "xl"}, Parts{Count: 1, Each: 1, Slice: "xl"}, "the slices l and m and s"},
		{"any slice", cut, Resources{GPU: 1}, Parts{Count: 1, Each: 1}, "slices (l and m and s), which need gpu.slice or gpu.memory"},
	} {
		if got, has := c.pool.Parts(c.need); got != c.want || has != c.has {
			t.Errorf("%s: %+v, %q, want %+v, %q", c.name, got, has, c.want, c.has)
		}
	}
}

func TestSizesAreReadAndWrittenExactly(t *testing.T) {
	for text, n := range map[string]int64{
		"0B": 0, "1B": 1, "100B": 100, "1KB": 1000, "1.5GiB": 3 << 29, "80GB": 80e9, "81559MiB": 81559 << 20, "1TiB": 1 << 40,
	} {
		if got := ParseSize(text); got != n {
			t.Errorf("%s is %d, want %d", text, got, n)
		}
		if got := FormatSize(n); got != text {
			t.Errorf("%d is written %s, want %s", n, got, text)
		}
	}
	for text, n := range map[string]int64{"0.5B": 1, "9999999999TiB": math.MaxInt64, "": 0, "x": 0, "GiB": 0, "-1GiB": 0, "12": 0} {
		if got := ParseSize(text); got != n {
			t.Errorf("%q is %d, want %d", text, got, n)
		}
	}
}
