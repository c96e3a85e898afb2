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

// inherited lists the variables that a program inherits from tenon's environment. None
// of them may change what a program computes: they are no part of a unit's key.
var inherited = map[string]bool{
	// where programs, the home folder and its caches are
	"PATH": true, "HOME": true, "USER": true, "LOGNAME": true, "SHELL": true, "XDG_CACHE_HOME": true,
	// which certificates to trust
	"SSL_CERT_FILE": true, "SSL_CERT_DIR": true, "REQUESTS_CA_BUNDLE": true, "CURL_CA_BUNDLE": true,
	// proxies
	"HTTP_PROXY": true, "HTTPS_PROXY": true, "ALL_PROXY": true, "NO_PROXY": true,
	"http_proxy": true, "https_proxy": true, "all_proxy": true, "no_proxy": true,
}

// environ returns the program's environment, sorted. A secret overrides an inherited
// variable; the variables of the step contract override everything.
func (e *Executor) environ(t executors.Task, doc step.Step, python string) []string {
	env := map[string]string{}
	for _, kv := range e.opts.Env {
		k, v, _ := strings.Cut(kv, "=")
		if inherited[k] {
			env[k] = v
		}
	}
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
	env[step.Env] = local.DocumentPath(t.Dir)

	list := make([]string, 0, len(env))
	for k, v := range env {
		list = append(list, k+"="+v)
	}
	slices.Sort(list)
	return list
}
