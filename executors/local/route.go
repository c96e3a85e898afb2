package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tenon-ml/tenon/executors/outputs"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// The route of a service has a folder of its own, which a container can mount: the file in it
// is replaced with every change. What the service observes is one of its notes.
const (
	RouteDir     = "route"
	observedFile = "notes/observed.json"
)

// RoutePath returns the path of the route in a run folder.
func RoutePath(dir string) string { return filepath.Join(dir, RouteDir, "route.json") }

// WriteRoute writes the route of the service in a run folder.
func WriteRoute(dir string, r step.Route) error {
	b, err := json.Marshal(r)
	if err == nil {
		err = os.MkdirAll(filepath.Join(dir, RouteDir), 0o755)
	}
	if err == nil {
		err = files.WriteSynced(RoutePath(dir), append(b, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write the route: %w", err)
	}
	return nil
}

// ReadObserved returns what the service in a run folder observes, or nil. The service writes
// the file, so it may hold anything.
func ReadObserved(dir string) (*step.Observed, error) {
	b, err := outputs.Read(filepath.Join(dir, observedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	o := new(step.Observed)
	if err == nil {
		err = json.Unmarshal(b, o)
	}
	if err != nil {
		return nil, fmt.Errorf("read what the service observes: %w", err)
	}
	return o, nil
}
