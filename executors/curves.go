package executors

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/tenon-ml/tenon/executors/outputs"
	"github.com/tenon-ml/tenon/internal/curve"
	"github.com/tenon-ml/tenon/internal/files"
)

// CurvesFile is where the [curve.Curves] of a run that has ended are, beside its log.
const CurvesFile = "curves.json"

// maxKeptProgress is how long a progress file may be, in bytes, that stays when its run has ended.
const maxKeptProgress = 1 << 20

// keepCurves records what a job has logged over time. Like a log, it does not change the result.
func (c *call) keepCurves(ctx context.Context) {
	path := filepath.Join(c.dir, ProgressFile)
	f, err := outputs.Open(path)
	if err != nil {
		return
	}
	defer f.Close()
	found, err := curve.Read(f)
	if err != nil || len(found.Curves) == 0 {
		return
	}
	b, err := json.Marshal(found)
	if err != nil || files.Write(filepath.Join(c.dir, CurvesFile), b, 0o644) != nil {
		return
	}
	_ = c.o.Artifacts.ShareCurves(context.WithoutCancel(ctx), c.name, b)
	if info, err := f.Stat(); err == nil && info.Size() > maxKeptProgress {
		_ = os.Remove(path)
	}
}
