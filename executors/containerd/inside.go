package containerd

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/image"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/executors/local/lives"
	"github.com/tenon-ml/tenon/internal/logfile"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// Paths of the run's files inside the container.
const (
	runnerPath     = "/tenon/run"
	documentPath   = "/tenon/step.json"
	logPath        = "/tenon/log"
	inputsDir      = "/tenon/in"
	dataDir        = "/tenon/data"
	outputsDir     = "/tenon/out"
	notesDir       = "/tenon/notes"
	scratchDir     = "/tenon/scratch"
	keptDir        = "/tenon/kept"
	checkpointsDir = "/tenon/checkpoints"
	secretsDir     = "/tenon/secrets"
	routeDir       = "/tenon/route"
	besideDir      = "/tenon/beside"
	variables      = "variables.json" // in secretsDir
)

// inside returns the document with paths inside the container, and the mounts for these
// paths.
func inside(t executors.Task) (step.Step, []specs.Mount) {
	doc := local.Document(t)
	mounts := []specs.Mount{
		bind(local.DocumentPath(t.Dir), documentPath, "ro"),
		bind(filepath.Join(t.Dir, "log"), logPath, "rw"),
		bind(logfile.Folder(filepath.Join(t.Dir, "log")), logfile.Folder(logPath), "rw"),
		bind(filepath.Join(t.Dir, "out"), outputsDir, "rw"),
		bind(filepath.Join(t.Dir, "notes"), notesDir, "rw"),
		bind(filepath.Join(t.Dir, "scratch"), scratchDir, "rw"),
		bind(filepath.Join(t.Dir, "scratch"), "/tmp", "rw"),
	}
	if doc.Kept != "" {
		mounts = append(mounts, bind(doc.Kept, keptDir, "rw"))
		doc.Kept = keptDir
	}
	if doc.Checkpoints != nil {
		mounts = append(mounts, bind(doc.Checkpoints.Path, checkpointsDir, "rw"))
		doc.Checkpoints.Path = checkpointsDir
	}
	doc.Scratch = scratchDir
	doc.Metrics = path.Join("/tenon", executors.MetricsFile)
	doc.Progress = path.Join("/tenon", executors.ProgressFile)
	if doc.Lives != "" {
		doc.Lives = path.Join("/tenon", lives.Replicas)
	}
	if doc.Code = scratchDir; len(t.Unit.Code.Files) > 0 {
		doc.Code = image.CodeDir
	}
	for port, p := range doc.Outputs {
		p.Path = path.Join(outputsDir, port)
		doc.Outputs[port] = p
	}
	doc.Inputs = map[string]step.Port{}
	for _, port := range sortedKeys(t.Inputs) {
		p := t.Inputs[port]
		if p.Kind != ir.EndpointOf && !p.Lost {
			at := path.Join(inputsDir, port)
			mounts = append(mounts, bind(p.Path, at, "ro"))
			p.Path = at
		}
		doc.Inputs[port] = p
	}
	if doc.Files = nil; len(t.Files) > 0 {
		var more []specs.Mount
		doc.Files, more = data(t.Files)
		mounts = append(mounts, more...)
	}
	if t.Route != nil {
		mounts = append(mounts, bind(filepath.Join(t.Dir, local.RouteDir), routeDir, "ro"))
		doc.Route, doc.Observed = path.Join(routeDir, filepath.Base(doc.Route)), path.Join(notesDir, filepath.Base(doc.Observed))
	}
	doc.Interpreters = image.Interpreters(t.Unit.Code.Environments)
	for i, name := range sortedKeys(t.Beside) {
		other := t.Beside[name]
		if other.Unit.Code.Lock != t.Unit.Code.Lock {
			doc.Beside[name].Args = append([]string{image.Interpreter(other.Unit.Code.Lock)}, other.Unit.Code.Command...)
		}
		mounts = append(mounts, beside(other, doc, doc.Beside[name], path.Join(besideDir, strconv.Itoa(i)))...)
	}
	return doc, mounts
}

// beside puts the document of another version into the container of t, with its files below
// a folder, and returns the mounts for that.
func beside(t executors.Task, host step.Step, doc *step.Step, below string) (mounts []specs.Mount) {
	doc.Interpreters = image.Interpreters(t.Unit.Code.Environments)
	code := ""
	if len(t.Unit.Code.Files) > 0 {
		code = path.Join(below, "code")
		mounts = append(mounts, bind(t.Code, code, "ro"))
	}
	local.PlaceBeside(host, doc, outputsDir, code, func(port string, p step.Port) string {
		at := path.Join(below, "in", port)
		mounts = append(mounts, bind(p.Path, at, "ro"))
		return at
	})
	return mounts
}

// data maps data files below their common folder. This keeps the names of their
// folders, which may carry meaning.
func data(patterns map[string][]string) (map[string][]string, []specs.Mount) {
	var all []string
	for _, found := range patterns {
		all = append(all, found...)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	common := local.CommonDir(all)
	at := func(file string) string {
		rel, err := filepath.Rel(common, file)
		if err != nil { // cannot happen: both are absolute
			rel = filepath.Base(file)
		}
		return path.Join(dataDir, filepath.ToSlash(rel))
	}
	out := make(map[string][]string, len(patterns))
	for p, found := range patterns {
		out[p] = []string{}
		for _, f := range found {
			out[p] = append(out[p], at(f))
		}
	}
	var mounts []specs.Mount
	paths, _ := cover(common, all)
	for _, p := range paths {
		mounts = append(mounts, bind(p, at(p), "ro"))
	}
	return out, mounts
}

// cover returns the files below dir. It replaces all files of a folder by the folder
// itself if it can, because each mount takes milliseconds. whole reports whether dir
// holds nothing else and the program may read it. Folders with symbolic links or mount
// points are not replaced, because their targets would be missing.
func cover(dir string, sorted []string) (paths []string, whole bool) {
	const others = 0o005
	info, err := os.Stat(dir)
	whole = err == nil && info.Mode()&others == others
	entries, _ := os.ReadDir(dir)
	children, kinds := 0, map[string]fs.FileMode{}
	for _, e := range entries {
		kinds[e.Name()] = e.Type()
	}
	for i := 0; i < len(sorted); children++ {
		name, _, deeper := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(sorted[i], dir), "/"), "/")
		child := filepath.Join(dir, name)
		kind, there := kinds[name]
		whole = whole && there && !isMount(child)
		if !deeper {
			paths, whole = append(paths, child), whole && kind.IsRegular()
			i++
			continue
		}
		n := 1
		for i+n < len(sorted) && strings.HasPrefix(sorted[i+n], child+"/") {
			n++
		}
		below, all := cover(child, sorted[i:i+n])
		paths, whole = append(paths, below...), whole && all && kind.IsDir()
		i += n
	}
	if whole = whole && children == len(entries) && children > 0; whole {
		return []string{dir}, true
	}
	return paths, false
}

// isMount reports whether path is a mount point. Kernels before 5.8 do not report it.
func isMount(path string) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, 0, &st)
	return err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

func bind(from, to, mode string) specs.Mount {
	return specs.Mount{Type: "bind", Source: from, Destination: to, Options: []string{"bind", mode, "nosuid", "nodev"}}
}

// command returns the command line of the container. socket are arguments of tenon-run.
func command(t executors.Task, doc step.Step, secrets bool, socket []string) []string {
	argv := []string{runnerPath, "-log", logPath, "-fault", path.Join(notesDir, "fault"), "-exit", path.Join(notesDir, "exit"), "-dir", doc.Code}
	if t.Unit.Kind == ir.Service {
		argv = append(argv, "-lives", path.Join("/tenon", lives.File))
	}
	if secrets {
		argv = append(argv, "-secrets", path.Join(secretsDir, variables))
	}
	argv = append(argv, socket...)
	return append(append(argv, "--"), image.Command(t.Unit.Code)...)
}

// proxies are the variables of tenon's environment that configure network proxies.
var proxies = []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"}

// environ returns the program's environment, sorted, without secrets: the variables of
// the image, overridden by those that every program gets.
func environ(t executors.Task, ofImage, ofTenon []string, open bool) []string {
	env := map[string]string{"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
	for _, kv := range ofImage {
		k, v, _ := strings.Cut(kv, "=")
		env[k] = v
	}
	if open {
		for _, kv := range ofTenon {
			if k, v, _ := strings.Cut(kv, "="); slices.Contains(proxies, k) {
				env[k] = v
			}
		}
	}
	for k, v := range local.Variables(t.Unit) {
		env[k] = v
	}
	if t.Lock != "" {
		env["VIRTUAL_ENV"] = image.EnvDir
		if bin := path.Join(image.EnvDir, "bin"); !slices.Contains(strings.Split(env["PATH"], ":"), bin) {
			env["PATH"] = bin + ":" + env["PATH"]
		}
	}
	if t.Unit.Code.DuckDB != "" {
		env[step.Duck] = image.DuckPath
	}
	env["HOME"], env["TMPDIR"], env[step.Env] = scratchDir, scratchDir, documentPath
	env["USER"], env["LOGNAME"] = hostname, hostname // the user has no other name in an image
	// With NVIDIA's wrapper of runc, an image that asks for GPUs would get all of them.
	env["NVIDIA_VISIBLE_DEVICES"] = "void"
	list := make([]string, 0, len(env))
	for _, k := range sortedKeys(env) {
		list = append(list, k+"="+env[k])
	}
	return list
}

// open reports whether the unit has the network of the machine.
func open(u ir.Unit) bool {
	return u.Network == ir.NetworkOpen || u.Endpoint != nil ||
		slices.ContainsFunc(u.Inputs, func(in ir.Input) bool { return in.Kind == ir.EndpointOf })
}

// quota converts thousandths of a core to the kernel's unit: microseconds in a period.
func quota(milliCPU int64) (quota int64, period uint64) {
	return max(milliCPU*100, 1000), 100_000
}

func size(bytes int64) string { return "size=" + strconv.FormatInt(bytes, 10) }
