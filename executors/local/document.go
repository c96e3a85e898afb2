package local

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/local/lives"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// Document returns the document for the task's program, with the paths of this machine.
// The description of a column and its unit of measure are not part of a unit's digest,
// so the document omits them too, except in the request and the response of an
// endpoint.
func Document(t executors.Task) step.Step {
	u := t.Unit
	s := step.Step{
		Version: step.Version, Unit: u.ID, Component: u.Component, Params: u.Params,
		Inputs: t.Inputs, Outputs: map[string]step.Port{}, Files: t.Files, Seed: u.Seed, Resources: u.Needs,
		Code: t.Code, Scratch: filepath.Join(t.Dir, "scratch"),
		Metrics: filepath.Join(t.Dir, executors.MetricsFile), Progress: filepath.Join(t.Dir, executors.ProgressFile),
	}
	if len(s.Params) == 0 {
		s.Params = json.RawMessage("{}")
	}
	if s.Inputs == nil {
		s.Inputs = map[string]step.Port{}
	}
	if s.Code == "" {
		s.Code = s.Scratch
	}
	for _, o := range u.Outputs {
		p := step.Port{Kind: o.Kind, Path: filepath.Join(t.Dir, "out", o.Port), Schema: o.Schema.Bare(),
			Keys: o.Keys, Timestamp: o.Timestamp, Signature: o.Signature.Bare(), Request: o.Request, Response: o.Response}
		if o.Kind == ir.Table {
			p.Format = "parquet"
		}
		s.Outputs[o.Port] = p
	}
	if t.Checkpoints != nil {
		at := *t.Checkpoints
		s.Checkpoints = &at
	}
	if u.Kind == ir.Service {
		s.Endpoint, s.Instance = u.Endpoint, t.Name
		s.Lives, s.Kept = filepath.Join(t.Dir, lives.Replicas), t.Kept
	}
	if s.Name = t.Version; t.Route != nil {
		s.Route, s.Observed = RoutePath(t.Dir), filepath.Join(t.Dir, observedFile)
		s.Beside = make(map[string]*step.Step, len(t.Beside))
		for name, other := range t.Beside {
			doc := Document(other)
			s.Beside[name] = &doc
		}
	}
	return s
}

// Locks returns the text of the lock of a task, nil if it has none, and those of the further
// environments of the task and of the versions beside it, by their digests.
func Locks(t executors.Task) (lock []byte, further map[string][]byte, err error) {
	further = map[string][]byte{}
	read := func(path string) (text []byte) {
		if path != "" && err == nil {
			if text, err = os.ReadFile(path); err != nil {
				err = fmt.Errorf("read the lock of a Python environment: %w", err)
			}
		}
		return text
	}
	lock = read(t.Lock)
	for _, of := range append(slices.Collect(maps.Values(t.Beside)), t) {
		for digest, path := range of.Environments {
			further[digest] = read(path)
		}
		if of.Unit.Code.Lock != t.Unit.Code.Lock && of.Lock != "" {
			further[of.Unit.Code.Lock] = read(of.Lock)
		}
	}
	return lock, further, err
}

// PlaceBeside gives the document of another version of a service the paths that it has in the
// container of host: what both write is that of the host, out is the folder of outputs, code that
// of its code or "", and place returns where an input is, in the order of their names.
func PlaceBeside(host step.Step, doc *step.Step, out, code string, place func(port string, p step.Port) string) {
	doc.Scratch, doc.Metrics, doc.Progress, doc.Lives, doc.Kept = host.Scratch, host.Metrics, host.Progress, host.Lives, host.Kept
	doc.Code = cmp.Or(code, doc.Scratch)
	outputs, inputs := map[string]step.Port{}, map[string]step.Port{}
	for port, p := range doc.Outputs {
		p.Path = path.Join(out, port)
		outputs[port] = p
	}
	for _, port := range slices.Sorted(maps.Keys(doc.Inputs)) {
		p := doc.Inputs[port]
		if p.Kind != ir.EndpointOf && !p.Lost {
			p.Path = place(port, p)
		}
		inputs[port] = p
	}
	doc.Outputs, doc.Inputs = outputs, inputs
}

// WriteDocument writes the document to the path in [step.Env] and creates the folders
// that the program writes to.
func WriteDocument(t executors.Task, s step.Step) error {
	for _, sub := range []string{"out", "scratch", "notes"} {
		if err := os.MkdirAll(filepath.Join(t.Dir, sub), 0o755); err != nil {
			return err
		}
	}
	if t.Route != nil {
		if err := WriteRoute(t.Dir, *t.Route); err != nil {
			return err
		}
	}
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return os.WriteFile(DocumentPath(t.Dir), append(b, '\n'), 0o644)
}

// DocumentPath returns the path of the document in a run folder.
func DocumentPath(dir string) string { return filepath.Join(dir, "step.json") }

// threadVars tell numerical libraries how many threads to start. Without them each
// starts one per core of the machine, in every unit that runs in parallel.
var threadVars = []string{
	"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
	"LOKY_MAX_CPU_COUNT", "GOMAXPROCS",
}

// Variables returns the variables that every program gets wherever it runs, except
// those that hold paths. The time zone and the locale are those of no machine: a result
// may depend on them, and they are no part of a unit's key.
func Variables(u ir.Unit) map[string]string {
	env := map[string]string{
		"TZ": "UTC", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8",
		"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1",
		"PYTHONHASHSEED": strconv.FormatUint(uint64(uint32(u.Seed)), 10), // Python takes 32 bits
	}
	threads := strconv.FormatInt(max(1, u.Needs.MilliCPU/1000), 10)
	for _, k := range threadVars {
		env[k] = threads
	}
	return env
}

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
	// how threads wait for each other
	"OMP_WAIT_POLICY": true, "GOMP_SPINCOUNT": true, "KMP_BLOCKTIME": true,
}

// Inherited returns what a program inherits of the variables in environ, which are as of
// [os.Environ].
func Inherited(environ []string) map[string]string {
	env := map[string]string{}
	for _, kv := range environ {
		if k, v, _ := strings.Cut(kv, "="); inherited[k] {
			env[k] = v
		}
	}
	return env
}

// CommonDir returns the deepest folder that contains all files of a sorted list.
func CommonDir(sorted []string) string {
	if len(sorted) == 0 {
		return "/"
	}
	dir := filepath.Dir(sorted[0])
	for last := sorted[len(sorted)-1]; dir != "/" && !strings.HasPrefix(last, dir+"/"); {
		dir = filepath.Dir(dir)
	}
	return dir
}
