// Package onnx evaluates the graphs of models with ONNX Runtime, in this process. It loads the
// library from the Python environment of the model, so that training and serving compute with
// the same one. It uses no thread but that of the caller.
package onnx

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"

	ort "github.com/yalue/onnxruntime_go"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/model"
)

// mostRows is how many rows are evaluated at once at most, which bounds the memory.
const mostRows = 256

// A session is safe for concurrent use: ONNX Runtime allows to run one from several threads. Its
// memory is given back once nothing refers to it.
type session struct {
	run             *ort.DynamicAdvancedSession
	inputs, outputs int
}

// Open loads the graph in a file. python is the interpreter of the environment with the library.
func Open(o *model.ONNX, file, python string) (model.Graph, error) {
	graph, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	// A graph is evaluated as it was proven, even if others can write to the store of models. It
	// is not opened by its path, so it cannot refer to other files.
	sum := sha256.Sum256(graph)
	if got := "sha256:" + hex.EncodeToString(sum[:]); got != o.Digest {
		return nil, fmt.Errorf("%s has the digest %s, wanted %s", o.File, got, o.Digest)
	}
	if err := start(python); err != nil {
		return nil, err
	}
	if version := ort.GetVersion(); older(version, o.Runtime) {
		return nil, fmt.Errorf("the model was made with ONNX Runtime %s, and the environment has %s", o.Runtime, version)
	}
	options, err := ort.NewSessionOptions()
	if err != nil {
		return nil, err
	}
	defer func() { _ = options.Destroy() }()
	err = errors.Join(options.SetIntraOpNumThreads(1), options.SetInterOpNumThreads(1),
		options.SetCpuMemArena(false)) // an arena keeps the memory of the largest request
	if err != nil {
		return nil, err
	}
	run, err := ort.NewDynamicAdvancedSessionWithONNXData(graph, []string{"numbers"}, []string{"outputs"}, options)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", o.File, err)
	}
	s := &session{run, o.Inputs, o.Outputs}
	// Several versions of a service may share it, so its last user is whoever refers to it last.
	runtime.AddCleanup(s, destroy, run)
	return s, nil
}

// destroy gives the memory of a session back. It is a variable for tests.
var destroy = func(run *ort.DynamicAdvancedSession) { _ = run.Destroy() }

var (
	starting sync.Mutex
	started  string // the library
)

// start loads the library of an environment. A process has one.
func start(python string) error {
	library, err := Library(python)
	if err != nil {
		return err
	}
	starting.Lock()
	defer starting.Unlock()
	switch started {
	case library:
		return nil
	case "":
	default:
		return fmt.Errorf("this process has loaded %s, and cannot load %s as well", started, library)
	}
	ort.SetSharedLibraryPath(library)
	if err := ort.InitializeEnvironment(ort.WithLogLevelError()); err != nil {
		return fmt.Errorf("load ONNX Runtime: %w", err)
	}
	started = library
	return nil
}

// Library returns the path of ONNX Runtime in the environment of an interpreter.
func Library(python string) (string, error) {
	env := filepath.Dir(filepath.Dir(python))
	for _, name := range []string{"libonnxruntime.so*", "libonnxruntime*.dylib"} {
		found, err := filepath.Glob(filepath.Join(env, "lib", "python3*", "site-packages", "onnxruntime", "capi", name))
		if err != nil {
			return "", err
		}
		if len(found) > 0 {
			return found[0], nil
		}
	}
	return "", fmt.Errorf("the environment %s has no ONNX Runtime", env)
}

// older reports whether a version is lower than another one: of "1.9.2" and "1.10", the first.
func older(version, than string) bool {
	a, b := strings.Split(version, "."), strings.Split(than, ".")
	for i := range min(len(a), len(b)) {
		x, _ := strconv.Atoi(a[i])
		y, _ := strconv.Atoi(b[i])
		if x != y {
			return x < y
		}
	}
	return false
}

// tensors are the memory of one goroutine for a number of rows. ONNX Runtime reads and writes it.
type tensors struct {
	of   *session
	rows int
	*held
}

// held is what has to be given back.
type held struct {
	pins    runtime.Pinner
	in, out *ort.Tensor[float64]
	given   []ort.Value
	wanted  []ort.Value
}

func (h *held) free() {
	for _, t := range append(h.given, h.wanted...) {
		_ = t.Destroy() // it gives memory back, and cannot fail
	}
	h.pins.Unpin()
}

// newTensors allocates memory for rows. It is given back once nothing refers to it.
func (s *session) newTensors(rows int) (*tensors, error) {
	h := &held{}
	for _, t := range []struct {
		of   **ort.Tensor[float64]
		in   *[]ort.Value
		size int
	}{{&h.in, &h.given, s.inputs}, {&h.out, &h.wanted, s.outputs}} {
		data := make([]float64, rows*t.size)
		h.pins.Pin(&data[0]) // ONNX Runtime keeps the address
		tensor, err := ort.NewTensor(ort.NewShape(int64(rows), int64(t.size)), data)
		if err != nil {
			h.free()
			return nil, err
		}
		*t.of, *t.in = tensor, []ort.Value{tensor}
	}
	made := &tensors{s, rows, h}
	runtime.AddCleanup(made, (*held).free, h)
	return made, nil
}

// Run implements [model.Graph].
func (s *session) Run(numbers, outputs []float64, scratch *any) error {
	for rows := len(outputs) / s.outputs; rows > 0; {
		n := min(rows, mostRows)
		t, ok := (*scratch).(*tensors)
		if !ok || t.of != s || t.rows != n {
			var err error
			if t, err = s.newTensors(n); err != nil {
				return err
			}
			*scratch = t
		}
		copy(t.in.GetData(), numbers)
		if err := s.run.Run(t.given, t.wanted); err != nil {
			return fmt.Errorf("ONNX Runtime: %w", err)
		}
		copy(outputs, t.out.GetData())
		runtime.KeepAlive(t)
		runtime.KeepAlive(s)
		numbers, outputs, rows = numbers[n*s.inputs:], outputs[n*s.outputs:], rows-n
	}
	return nil
}
