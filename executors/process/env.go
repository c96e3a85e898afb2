package process

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// environ returns the program's environment, sorted. A secret overrides an inherited
// variable; the variables of the step contract override everything.
func (e *Executor) environ(t executors.Task, doc step.Step, python, duck string) []string {
	env := local.Inherited(e.opts.Env)
	maps.Copy(env, local.Variables(t.Unit))
	if t.Devices != nil { // with none, the program sees none
		var ids []string
		for _, d := range t.Devices {
			ids = append(ids, d.ID)
		}
		env["CUDA_VISIBLE_DEVICES"] = strings.Join(ids, ",")
		env["NVIDIA_VISIBLE_DEVICES"] = env["CUDA_VISIBLE_DEVICES"]
	}
	env["TMPDIR"] = doc.Scratch
	if python != "" {
		bin := filepath.Dir(python)
		env["VIRTUAL_ENV"] = filepath.Dir(bin)
		env["PATH"] = bin + string(filepath.ListSeparator) + env["PATH"]
	}
	maps.Copy(env, t.Env)
	if duck != "" {
		env[step.Duck] = duck
	}
	env[step.Env] = local.DocumentPath(t.Dir)

	list := make([]string, 0, len(env))
	for k, v := range env {
		list = append(list, k+"="+v)
	}
	slices.Sort(list)
	return list
}
