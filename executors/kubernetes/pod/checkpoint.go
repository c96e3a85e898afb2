package pod

import (
	"cmp"
	"fmt"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// Checkpoints says where the store has the checkpoints of a job, each as one file. Nothing else is in the folder.
type Checkpoints struct {
	Store  string `json:"store,omitempty"` // URL, "" for that of the task
	Folder string `json:"folder"`          // of [remote.Store.Keep]
}

// CheckpointsOf returns the folder, below the lineage of a state, of the checkpoints of a unit in an environment. label is
// unique among the units of a system.
func CheckpointsOf(env, label string) string {
	return path.Join("checkpoints", cmp.Or(env, "-"), label)
}

// KeptOf returns the folder, below the lineage of a state, in which all versions of a unit in an environment keep files of
// a kind, as they do in the state folder on one machine.
func KeptOf(env, unit, folder string) string {
	return path.Join(cmp.Or(env, "-"), unit, folder)
}

// CheckpointName returns the path of the file of a checkpoint in a folder. Names sort as numbers do.
func CheckpointName(dir string, number int64) string {
	return filepath.Join(dir, fmt.Sprintf("%019d.tar", number))
}

// CheckpointNumber returns the number in the name of such a file.
func CheckpointNumber(name string) (number int64, ok bool) {
	digits, ok := strings.CutSuffix(name, ".tar")
	number, err := strconv.ParseInt(digits, 10, 64)
	return number, ok && err == nil && number > 0
}
