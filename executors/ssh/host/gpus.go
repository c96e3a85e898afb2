package host

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/gpu"
)

// lend chooses GPUs of this host for a task, or says why it has none: never, or full for now. What
// runs has them, whoever started it; only the service that the task replaces may share its own. The
// result is not nil, so that a program without GPUs sees none.
func (s *server) lend(ctx context.Context, needs ir.Resources, replaced string) (lent []executors.Device, never, full string, err error) {
	lent = []executors.Device{}
	if needs.GPU == 0 {
		return lent, "", "", nil
	}
	found, err := gpu.Discover(ctx, gpu.Options{CDIDirs: s.cdi})
	if err != nil {
		return nil, "", "", err
	}
	var fit []executors.Device
	for _, g := range found {
		if suits(g, needs) {
			fit = append(fit, g.Device)
		}
	}
	if int64(len(fit)) < needs.GPU {
		return nil, fmt.Sprintf("it needs %d GPUs%s, and the host has %d of %d", needs.GPU, like(needs), len(fit), len(found)), "", nil
	}
	held := map[string]bool{}
	before := map[string]bool{} // of the service that is replaced
	s.each(ctx, func(rec record) {
		if replaced != "" && rec.Run == replaced {
			for _, d := range rec.Devices {
				before[identity(d)] = true
			}
			return
		}
		for _, d := range rec.Devices {
			held[identity(d)] = true
		}
	})
	free := slices.DeleteFunc(fit, func(d executors.Device) bool { return held[identity(d)] })
	if int64(len(free)) < needs.GPU {
		return nil, "", fmt.Sprintf("it needs %d GPUs%s, of which %d are free", needs.GPU, like(needs), len(free)), nil
	}
	// Others first: two versions on one device may need more memory than it has.
	slices.SortStableFunc(free, func(a, b executors.Device) int {
		had := func(d executors.Device) int {
			if before[identity(d)] {
				return 1
			}
			return 0
		}
		return had(a) - had(b)
	})
	return free[:needs.GPU], "", "", nil
}

// identity names a device whatever its index is, which may change while a job has the device: by its
// UUID, if it has one.
func identity(d executors.Device) string {
	if _, err := strconv.Atoi(d.ID); err == nil || d.ID == "" {
		return d.Name
	}
	return d.ID
}

// suits reports whether a whole device is as a task asks. What is not known of it is not compared.
func suits(g executors.GPU, needs ir.Resources) bool {
	return len(g.Slices) == 0 && (needs.GPUMemory == 0 || g.Memory == 0 || g.Memory >= needs.GPUMemory) &&
		(needs.GPUModel == "" || g.Model == "" || ir.IsModel(g.Model, needs.GPUModel))
}

func like(needs ir.Resources) (text string) {
	if needs.GPUModel != "" {
		text += " " + needs.GPUModel
	}
	if needs.GPUMemory > 0 {
		text += " with " + ir.FormatSize(needs.GPUMemory)
	}
	return text
}
