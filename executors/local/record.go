package local

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner/state"
)

// ReadRecord reads what an executor keeps of a task in its run folder. What was cut
// off by a power failure counts as absent: what it told of is gone as well.
func ReadRecord(path string, record any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, record); err != nil {
		return fmt.Errorf("%s is cut off: %w", path, os.ErrNotExist)
	}
	return nil
}

// SaveRecord writes it.
func SaveRecord(path string, record any) error {
	b, err := json.Marshal(record)
	if err != nil {
		return err
	}
	return files.Write(path, append(b, '\n'), 0o644)
}

// Handle is the handle that holds it.
func Handle(executor, id string, record any) (state.Handle, error) {
	b, err := json.Marshal(record)
	if err != nil {
		return state.Handle{}, err
	}
	return state.Handle{Executor: executor, ID: id, Data: b}, nil
}
