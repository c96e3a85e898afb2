package parity

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	pool "github.com/tenon-ml/tenon/stdlib/serve/plane/worker"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// script predicts with the model itself. It is among the files of the component.
const script = "tenon_parity.py"

// recordSize is the size of a prediction that the script writes, in bytes: the index of the
// class and the probabilities of all classes, if there are any, or the number, each as a float64.
func recordSize(m Predictor) int {
	if len(m.Classes()) > 0 {
		return 8 * (1 + numbersOf(m))
	}
	return 8
}

// numbersOf is how many of the outputs of a model are compared: the number, or the probabilities.
func numbersOf(m Predictor) int {
	switch classes := len(m.Classes()); {
	case classes == 0:
		return 1
	case m.Probabilities():
		return classes
	}
	return 0
}

// predict lets Python predict all rows of the features, in their order.
func predict(ctx context.Context, s *step.Step, python Python) (*os.File, error) {
	if python.Interpreter == "" {
		return nil, errors.New("there is no Python to compare predictions with: only tenon apply can start this step")
	}
	path := filepath.Join(s.Scratch, "predictions")
	cmd := exec.CommandContext(ctx, python.Interpreter, filepath.Join(s.Code, "_tenon", script), path, python.Folder)
	cmd.Env, cmd.Stdout, cmd.Stderr = pool.Environ(), os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("predict with Python: %w", err)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read Python's predictions: %w", err)
	}
	return f, nil
}

// whole fails unless there is a prediction for each row.
func whole(f *os.File, m Predictor, rows int) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read Python's predictions: %w", err)
	}
	if want := int64(rows) * int64(recordSize(m)); info.Size() != want {
		return fmt.Errorf("read Python's predictions: %d rows have %d bytes, wanted %d", rows, info.Size(), want)
	}
	return nil
}
