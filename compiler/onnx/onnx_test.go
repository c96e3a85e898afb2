package onnx_test

import (
	"bytes"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tenon-ml/tenon/compiler/onnx"
	"github.com/tenon-ml/tenon/compiler/onnx/onnxtest"
)

var sound = onnxtest.File{
	Inputs:    []onnxtest.Value{onnxtest.Tensor("x", onnxtest.Float, 0, 3), onnxtest.Tensor("kind", onnxtest.String)},
	Outputs:   []onnxtest.Value{onnxtest.Tensor("label", onnxtest.Int64, 0), onnxtest.Tensor("p", onnxtest.Double, 0, 2), onnxtest.Tensor("maps", 0)},
	Operators: [][2]string{{"", "MatMul"}, {"ai.onnx.ml", "Scaler"}, {"com.microsoft", "FusedMatMul"}},
}

func TestRead(t *testing.T) {
	got, err := onnx.Read(sound.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	want := &onnx.Model{
		Opset:   20,
		Inputs:  []onnx.Value{{Name: "x", Type: "float32", Shape: []onnx.Dim{0, 3}}, {Name: "kind", Type: "string"}},
		Outputs: []onnx.Value{{Name: "label", Type: "int64", Shape: []onnx.Dim{0}}, {Name: "p", Type: "float64", Shape: []onnx.Dim{0, 2}}, {Name: "maps", Type: "sequence"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// What a file needs besides itself is found wherever it is.
func TestNeeds(t *testing.T) {
	f := sound
	f.External, f.Operators = "weights.bin", [][2]string{{"", "RandomNormal"}, {"acme", "Own"}, {"acme", "Given"}, {"com.microsoft", "EPContext"}}
	f.Functions = [][2]string{{"acme", "Given"}}
	got, err := onnx.Read(f.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	needs := []string{strings.Join(got.External, " "), strings.Join(got.Foreign, " "), strings.Join(got.Random, " ")}
	if diff := cmp.Diff([]string{"weights.bin", "acme.Own com.microsoft.EPContext", "RandomNormal"}, needs); diff != "" {
		t.Error(diff)
	}
}

func TestReadRefuses(t *testing.T) {
	deep := sound
	deep.Nested = 40
	for name, tt := range map[string]struct {
		file []byte
		want string
	}{
		"nothing":     {nil, "not an ONNX model"},
		"text":        {[]byte("a,b\n1,2\n"), "not an ONNX model"},
		"a part":      {sound.Bytes()[:60], "not an ONNX model"},
		"no output":   {onnxtest.File{Inputs: sound.Inputs}.Bytes(), "not an ONNX model"},
		"many inputs": {many(11, 100_001), "more than 100000 inputs"},
		"many shapes": {onnxtest.File{Inputs: []onnxtest.Value{{Name: "x", Type: onnxtest.Float, Shape: make([]int64, 100_001)}}}.Bytes(), "more than 100000 inputs"},
		"deep graphs": {deep.Bytes(), "graphs are nested more than 32 times"},
		"too large":   {make([]byte, onnx.MostBytes+1), "at most 268435456 are read"},
	} {
		if _, err := onnx.Read(tt.file); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
}

// many returns a file whose graph has a field many times, empty.
func many(field protowire.Number, times int) []byte {
	one := protowire.AppendBytes(protowire.AppendTag(nil, field, protowire.BytesType), nil)
	return protowire.AppendBytes(protowire.AppendTag(nil, 7, protowire.BytesType), bytes.Repeat(one, times))
}

// A file of many operators that are alike takes no more memory than one.
func TestManyOperators(t *testing.T) {
	b := many(1, 1<<20)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, _ = onnx.Read(b)
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("reading %d bytes takes %d of memory", len(b), n)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(sound.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) { _, _ = onnx.Read(b) })
}
