package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/executors/pyenv"
	"github.com/tenon-ml/tenon/stdlib"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/model"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/onnx"
)

const (
	graphArg   = "run-graph" // makes the program evaluate a graph, and nothing else
	graphs     = "stdlib/serve/plane/onnx/testdata/classification"
	graphLimit = 1.2 // times the C API
	graphRuns  = 100_000
)

//go:embed graph.c.txt
var graphInC string

// measureGraphs measures ONNX Runtime as the plane calls it, from Go, beside a program in C that
// calls the same library with the same options. Both evaluate the graph of a small network, so
// that the calls count; the plane also copies the numbers in and out.
func (b *bench) measureGraphs(ctx context.Context) error {
	const name = "evaluate a graph of ONNX, rows"
	var library, python, inC string
	for _, rows := range []int{1, 100} {
		if !b.wants(name, rows) {
			continue
		}
		b.say(name, rows)
		if inC == "" {
			var err error
			if python, library, err = b.onnxRuntime(ctx); err != nil {
				return err
			}
			if inC, err = b.compileGraph(ctx); err != nil {
				return err
			}
		}
		o, err := graphOf(graphs)
		if err != nil {
			return err
		}
		self, err := os.Executable()
		if err != nil {
			return err
		}
		runs := strconv.Itoa(max(1, graphRuns/rows))
		var wanted string
		// Both give the same numbers for the same rows.
		same := func(out string) error {
			_, numbers, _ := strings.Cut(out, "\n")
			if wanted == "" {
				wanted = numbers
			}
			if numbers == "" || numbers != wanted {
				return fmt.Errorf("it gives %q, and the first run %q", numbers, wanted)
			}
			return nil
		}
		took := func(out string) (time.Duration, error) {
			first, _, _ := strings.Cut(out, "\n")
			return time.ParseDuration(first)
		}
		plane := command{args: []string{self, graphArg, python, strconv.Itoa(rows), runs}, check: same, took: took}
		beside := command{args: []string{inC, library, filepath.Join(graphs, o.File), strconv.Itoa(rows), strconv.Itoa(o.Inputs), strconv.Itoa(o.Outputs), runs}, check: same, took: took}
		m, other, err := b.versus(ctx, 1, plane, beside)
		if err != nil {
			return err
		}
		b.rows = append(b.rows, tableRow{Case: name, Size: rows, Of: "at a time", Tenon: m, Beside: "C API", Other: &other, Goals: []goal{ratioGoal(m, other, graphLimit)}})
	}
	return nil
}

// onnxRuntime makes the environment in which services load graphs.
func (b *bench) onnxRuntime(ctx context.Context) (python, library string, err error) {
	lock, err := fs.ReadFile(stdlib.Files(), "lib/onnx/requirements.lock")
	if err != nil {
		return "", "", err
	}
	python, err = pyenv.New(pyenv.Options{Dir: b.path("onnx"), UV: os.Getenv("TENON_UV")}).Ensure(ctx, lock, nil)
	if err != nil {
		return "", "", err
	}
	library, err = onnx.Library(python)
	return python, library, err
}

// compileGraph compiles the program in C, with the header that the plane was built with.
func (b *bench) compileGraph(ctx context.Context) (string, error) {
	header, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/yalue/onnxruntime_go").Output()
	if err != nil {
		return "", fmt.Errorf("find the header of ONNX Runtime: %w", err)
	}
	source, program := b.path("graph.c"), b.path("graph")
	if err := os.WriteFile(source, []byte(graphInC), 0o644); err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, "cc", "-O2", "-I", strings.TrimSpace(string(header)), "-o", program, source, "-ldl").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("compile the program in C: %w\n%s", err, out)
	}
	return program, nil
}

// graphOf reads what the document of a model says about its graph.
func graphOf(folder string) (*model.ONNX, error) {
	b, err := os.ReadFile(filepath.Join(folder, "plane.json"))
	if err != nil {
		return nil, err
	}
	var doc model.Document
	if err := json.Unmarshal(b, &doc); err != nil {
		return nil, err
	}
	if doc.ONNX == nil {
		return nil, errors.New("the model has no graph")
	}
	return doc.ONNX, nil
}

// runGraph evaluates the graph a number of times, and prints what the program in C prints.
func runGraph(python, rows, runs string, stdout io.Writer) error {
	o, err := graphOf(graphs)
	if err != nil {
		return err
	}
	g, err := onnx.Open(o, filepath.Join(graphs, o.File), python)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(rows)
	if err != nil {
		return err
	}
	times, err := strconv.Atoi(runs)
	if err != nil {
		return err
	}
	numbers, outputs := make([]float64, n*o.Inputs), make([]float64, n*o.Outputs)
	for i := range numbers {
		numbers[i] = float64(i % 7)
	}
	var scratch any
	var began time.Time
	for i := -times / 10; i < times; i++ {
		if i == 0 {
			began = time.Now()
		}
		if err := g.Run(numbers, outputs, &scratch); err != nil {
			return err
		}
	}
	fmt.Fprintln(stdout, time.Since(began)/time.Duration(times))
	for _, x := range outputs[:o.Outputs] {
		fmt.Fprintf(stdout, "%.6f ", x)
	}
	return nil
}
