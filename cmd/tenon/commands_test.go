package main

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3" // the driver of states
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tenon-ml/tenon/executors/executortest"
	"github.com/tenon-ml/tenon/internal/test/golden"
	"github.com/tenon-ml/tenon/internal/test/grafana"
	"github.com/tenon-ml/tenon/internal/test/postgrestest"
	"github.com/tenon-ml/tenon/internal/test/registrytest"
	"github.com/tenon-ml/tenon/internal/test/sshtest"
	"github.com/tenon-ml/tenon/stdlib"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// commands are the commands of scripts in addition to testscript's own.
var commands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"exit":      cmdExit,
	"like":      cmdLike,
	"normal":    cmdNormal,
	"json":      cmdJSON,
	"events":    cmdEvents,
	"module":    cmdModule,
	"shop":      cmdShop,
	"replace":   cmdReplace,
	"waitfor":   cmdWaitFor,
	"secret":    cmdSecret,
	"idle":      cmdIdle,
	"freeport":  cmdFreePort,
	"registry":  cmdRegistry,
	"http":      cmdHTTP,
	"sqlite":    cmdSQLite,
	"postgres":  cmdPostgres,
	"hosts":     cmdHosts,
	"tmpfs":     cmdTmpfs,
	"readonly":  cmdReadOnly,
	"writable":  cmdWritable,
	"generate":  cmdGenerate,
	"cue":       cmdCue,
	"plainly":   cmdPlainly,
	"aws":       cmdAWS,
	"gcp":       cmdGCP,
	"azure":     cmdAzure,
	"provision": cmdProvision,
	"signed":    cmdSigned,
	"tofu":      cmdTofu,
	"refuse":    cmdRefuse,
	"quota":     cmdQuota,
	"swept":     cmdSwept,

	"dashboards": cmdDashboards,
}

func positive(ts *testscript.TestScript, neg bool, args []string, least int, usage string) {
	if neg || len(args) < least {
		ts.Fatalf("usage: %s", usage)
	}
}

// exit CODE PROGRAM ARGS... runs a program that must exit with CODE.
func cmdExit(ts *testscript.TestScript, neg bool, args []string) {
	positive(ts, neg, args, 2, "exit CODE PROGRAM ARGS...")
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	if ended := (*exec.ExitError)(nil); errors.As(err, &ended) {
		got = ended.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

// like OUT WANT compares a file with the lines of it that matter: see the package golden.
func cmdLike(ts *testscript.TestScript, neg bool, args []string) {
	positive(ts, neg, args, 2, "like OUT WANT")
	got := ts.ReadFile(args[0])
	if lacks := golden.Match(got, ts.ReadFile(args[1])); lacks != "" {
		ts.Fatalf("%s is not like %s: %s\n\n%s", args[0], args[1], lacks, got)
	}
}

// varying lists what differs between runs or machines.
var varying = []struct {
	pattern *regexp.Regexp
	name    string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?Z?`), "TIME"},
	{regexp.MustCompile(`\b\w+, process \d+ on \S+`), "USER, process PID on HOST"},
	{regexp.MustCompile(`(TOOK|\d+ms|\d+\.\ds) of cpu(, [0-9.]+ [KMG]?i?B (of memory|read|written))*`), "USED"},
	{regexp.MustCompile(`\b(\d+m\d\ds|\d+\.\ds|\d+ms)\b`), "TOOK"},
	{regexp.MustCompile(`the serial was \d+ and is now \d+`), "the serial was N and is now M"},
	{regexp.MustCompile(`in PATH \([^)]*\)`), "in PATH (...)"},
	{regexp.MustCompile(`\bsha256:[0-9a-f]{64}\b`), "sha256:DIGEST"},
	{regexp.MustCompile(`artifacts/[0-9a-f]{2}/[0-9a-f]{62}\b`), "artifacts/DIGEST"},
	{regexp.MustCompile(`code/[0-9a-f]{32}\b`), "code/DIGEST"},
	{regexp.MustCompile(`\b[0-9a-f]{12}\b`), "DIGEST"},
}

// A position in the library changes with every line that is written there, and so does
// the margin around its line number.
var (
	libraryPlace = regexp.MustCompile(`(tenon\.dev/\S+\.cue):\d+:\d+`)
	margin       = regexp.MustCompile(`(?m)^ *(?:\d+ \||(\||-->|=)) ?`)
)

// normal FILE OUT writes FILE to OUT with placeholders for what varies.
func cmdNormal(ts *testscript.TestScript, neg bool, args []string) {
	positive(ts, neg, args, 2, "normal FILE OUT")
	text := strings.ReplaceAll(ts.ReadFile(args[0]), ts.Getenv("WORK"), "$WORK")
	for _, v := range varying {
		text = v.pattern.ReplaceAllString(text, v.name)
	}
	if libraryPlace.MatchString(text) {
		text = margin.ReplaceAllString(libraryPlace.ReplaceAllString(text, "$1:LINE:COL"), "  $1 ")
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o644))
}

// lookup finds "a.b.0", "a.len" (how many) or "a.[unit=x].b" in a document.
func lookup(v any, path string) (any, error) {
	for part := range strings.SplitSeq(path, ".") {
		if part == "" {
			continue
		}
		var next any
		switch x := v.(type) {
		case map[string]any:
			next = x[part]
			if part == "len" {
				next = float64(len(x))
			}
		case []any:
			if part == "len" {
				next = float64(len(x))
			} else if key, value, ok := strings.Cut(strings.Trim(part, "[]"), "="); ok {
				for _, e := range x {
					if m, ok := e.(map[string]any); ok && fmt.Sprint(m[key]) == value {
						next = e
					}
				}
			} else if i, err := strconv.Atoi(part); err == nil && i < len(x) {
				next = x[i]
			}
		}
		if next == nil {
			return nil, fmt.Errorf("no %q of %q", part, path)
		}
		v = next
	}
	return v, nil
}

// json FILE PATH [WANT] checks that a JSON document has a value, and that it is WANT; see
// lookup. With ! the value must not exist, or must differ.
func cmdJSON(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: json FILE PATH [WANT]")
	}
	var doc any
	if err := json.Unmarshal([]byte(ts.ReadFile(args[0])), &doc); err != nil {
		ts.Fatalf("%s is no JSON: %v", args[0], err)
	}
	v, err := lookup(doc, args[1])
	got := fmt.Sprint(v)
	switch {
	case len(args) == 2 && neg != (err != nil):
		ts.Fatalf("%s: %v %v", args[1], got, err)
	case len(args) == 3 && neg == (got == args[2] && err == nil):
		ts.Fatalf("%s is %s, %v; want %s", args[1], got, err, args[2])
	}
}

// events FILE OUT checks that every line of FILE is an event, and writes what happened to
// which unit to OUT, in the order of units.
func cmdEvents(ts *testscript.TestScript, neg bool, args []string) {
	positive(ts, neg, args, 2, "events FILE OUT")
	var lines []string
	last := ""
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		var e struct{ Type, Unit, Time, Error string }
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Type == "" {
			ts.Fatalf("no event: %s%v", line, err)
		}
		if e.Unit != "" && e.Time == "" {
			ts.Fatalf("an event without a time: %s", line)
		}
		last = e.Type
		if e.Unit != "" && e.Type != "progress" {
			lines = append(lines, strings.TrimSpace(e.Unit+" "+e.Type+" "+e.Error))
		}
	}
	slices.SortStableFunc(lines, func(a, b string) int {
		a, _, _ = strings.Cut(a, " ")
		b, _, _ = strings.Cut(b, " ")
		return strings.Compare(a, b)
	})
	lines = append(lines, last, "")
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(strings.Join(lines, "\n")), 0o644))
}

const moduleText = `module: "acme.example/shop@v0"
language: version: "v0.17.0"
deps: %q: {v: %q, default: true}
`

// module [DIR] turns a folder into a CUE module that depends on the library.
func cmdModule(ts *testscript.TestScript, neg bool, args []string) {
	positive(ts, neg, args, 0, "module [DIR]")
	dir := ts.MkAbs(folder(args))
	ts.Check(os.MkdirAll(filepath.Join(dir, "cue.mod"), 0o755))
	text := fmt.Sprintf(moduleText, stdlib.Module, stdlib.Version)
	ts.Check(os.WriteFile(filepath.Join(dir, "cue.mod", "module.cue"), []byte(text), 0o644))
}

var testdata = sync.OnceValues(func() (string, error) { return filepath.Abs("testdata") })

// shop [DIR] writes the system of testdata/shop: orders from a CSV file, what each
// customer spent, in SQL, and a report, by a shell script.
func cmdShop(ts *testscript.TestScript, neg bool, args []string) {
	positive(ts, neg, args, 0, "shop [DIR]")
	dir := ts.MkAbs(folder(args))
	from, err := testdata()
	ts.Check(err)
	entries, err := os.ReadDir(filepath.Join(from, "shop"))
	ts.Check(err)
	ts.Check(os.MkdirAll(dir, 0o755))
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(from, "shop", e.Name()))
		ts.Check(err)
		ts.Check(os.WriteFile(filepath.Join(dir, e.Name()), b, 0o644))
	}
	cmdModule(ts, false, args)
}

// replace FILE OLD NEW replaces OLD, which must occur exactly once, with NEW. \n and \t
// mean a new line and a tab.
func cmdReplace(ts *testscript.TestScript, neg bool, args []string) {
	positive(ts, neg, args, 3, "replace FILE OLD NEW")
	text := ts.ReadFile(args[0])
	breaks := strings.NewReplacer(`\n`, "\n", `\t`, "\t")
	before, after := breaks.Replace(args[1]), breaks.Replace(args[2])
	if n := strings.Count(text, before); n != 1 {
		ts.Fatalf("%s has %q %d times", args[0], before, n)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Replace(text, before, after, 1)), 0o644))
}

// waitfor FILE [PATTERN] waits until FILE exists and contains PATTERN.
func cmdWaitFor(ts *testscript.TestScript, neg bool, args []string) {
	positive(ts, neg, args, 1, "waitfor FILE [PATTERN]")
	pattern := regexp.MustCompile(strings.Join(args[1:], " "))
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		found, err := filepath.Glob(ts.MkAbs(args[0]))
		ts.Check(err)
		for _, f := range found {
			if b, err := os.ReadFile(f); err == nil && pattern.Match(b) {
				return
			}
		}
		if time.Now().After(end) {
			ts.Fatalf("%s did not come to have %q in it", args[0], pattern)
		}
	}
}

// secret TEXT DIR checks that TEXT is in no file or file name below DIR.
func cmdSecret(ts *testscript.TestScript, neg bool, args []string) {
	positive(ts, neg, args, 2, "secret TEXT DIR")
	files := 0
	ts.Check(filepath.WalkDir(ts.MkAbs(args[1]), func(path string, d fs.DirEntry, err error) error {
		if err != nil || strings.Contains(filepath.Base(path), args[0]) {
			return fmt.Errorf("%s is there: %w", path, err)
		}
		if !d.Type().IsRegular() {
			return nil
		}
		files++
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte(args[0])) {
			return fmt.Errorf("%s contains it", path)
		}
		return err
	}))
	if files == 0 {
		ts.Fatalf("nothing to look through in %s", args[1])
	}
}

// units returns the processes of this script's units, found by their environment.
func units(ts *testscript.TestScript) []string {
	found, err := filepath.Glob("/proc/[0-9]*/environ")
	ts.Check(err)
	var alive []string
	for _, f := range found {
		b, err := os.ReadFile(f)
		if err == nil && bytes.Contains(b, []byte(step.Env+"="+ts.Getenv("WORK")+"/")) {
			alive = append(alive, filepath.Base(filepath.Dir(f)))
		}
	}
	return alive
}

// idle checks that no unit of this script runs; with ! that one does.
func cmdIdle(ts *testscript.TestScript, neg bool, _ []string) {
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		alive := units(ts)
		if neg != (len(alive) == 0) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("running: %v", alive)
		}
	}
}

// freeport NAME sets the variable NAME to the number of a free port.
func cmdFreePort(ts *testscript.TestScript, neg bool, args []string) {
	positive(ts, neg, args, 1, "freeport NAME")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv(args[0], strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	ts.Check(l.Close())
}

// dashboards DIR METRICS... checks dashboards of Grafana, against metrics in files or at URLs.
func cmdDashboards(ts *testscript.TestScript, neg bool, args []string) {
	positive(ts, neg, args, 2, "dashboards DIR METRICS...")
	var exposed [][]byte
	for _, from := range args[1:] {
		if !strings.HasPrefix(from, "http://") {
			exposed = append(exposed, []byte(ts.ReadFile(from)))
			continue
		}
		answer, err := http.Get(from)
		ts.Check(err)
		text, err := io.ReadAll(answer.Body)
		ts.Check(errors.Join(err, answer.Body.Close()))
		exposed = append(exposed, text)
	}
	ts.Check(grafana.Check(ts.MkAbs(args[0]), exposed...))
}

// registry NAME [USER PASSWORD] starts a registry and sets NAME to its host.
func cmdRegistry(ts *testscript.TestScript, neg bool, args []string) {
	positive(ts, neg, args, 1, "registry NAME [USER PASSWORD]")
	var o registrytest.Options
	if len(args) == 3 {
		o.User, o.Password = args[1], args[2]
	}
	ts.Setenv(args[0], registrytest.Start(ts.Value(testKey{}).(testing.TB), o).Host)
}

// postgres NAME sets NAME to the URL of a state that does not exist yet, and
// NAME_DATABASE to that of its database, without a schema.
func cmdPostgres(ts *testscript.TestScript, neg bool, args []string) {
	positive(ts, neg, args, 1, "postgres NAME")
	url := postgrestest.URL(ts.Value(testKey{}).(testing.TB))
	database, _, _ := strings.Cut(url, "?")
	ts.Setenv(args[0], url)
	ts.Setenv(args[0]+"_DATABASE", database)
}

// hosts makes two hosts that can be reached over ssh, and builds what runs on them. It sets HOST1
// and HOST2 to their addresses, HOME1 and HOME2 to their home folders, KEY to a private key and
// KNOWN to a file of known hosts.
func cmdHosts(ts *testscript.TestScript, neg bool, args []string) {
	positive(ts, neg, args, 0, "hosts")
	up, known := sshtest.Up(ts.Value(testKey{}).(testing.TB)), ""
	for i, h := range up.All {
		ts.Setenv("HOST"+strconv.Itoa(i+1), h.Address)
		ts.Setenv("HOME"+strconv.Itoa(i+1), h.Home)
		known += h.Address + " " + h.HostKey + "\n"
	}
	program := ts.MkAbs("tenon-host")
	ts.Check(executortest.BuildStatic(program, "github.com/tenon-ml/tenon/cmd/tenon-host"))
	ts.Check(os.WriteFile(ts.MkAbs("known_hosts"), []byte(known), 0o600))
	ts.Setenv("TENON_HOST_PROGRAM", program)
	ts.Setenv("KEY", up.Key)
	ts.Setenv("KNOWN", ts.MkAbs("known_hosts"))
}

// testKey is the key under which a script finds its test.
type testKey struct{}

// http URL [BODY | @FILE] prints the response to stdout; with ! nothing may listen there.
func cmdHTTP(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 0 {
		ts.Fatalf("usage: http URL [BODY | @FILE]")
	}
	client := &http.Client{Timeout: 20 * time.Second}
	var r *http.Response
	var err error
	if len(args) == 1 {
		r, err = client.Get(args[0])
	} else {
		body := args[1]
		if file, ok := strings.CutPrefix(body, "@"); ok {
			body = ts.ReadFile(file)
		}
		r, err = client.Post(args[0], "application/json", strings.NewReader(body))
	}
	if neg {
		if err == nil {
			ts.Fatalf("%s answers with %s", args[0], r.Status)
		}
		return
	}
	ts.Check(err)
	defer r.Body.Close()
	fmt.Fprintln(ts.Stdout(), r.Status)
	_, err = io.Copy(ts.Stdout(), r.Body)
	ts.Check(err)
}

// sqlite FILE STATEMENT changes a state without tenon.
func cmdSQLite(ts *testscript.TestScript, neg bool, args []string) {
	positive(ts, neg, args, 2, "sqlite FILE STATEMENT")
	db, err := sql.Open("sqlite3", "file:"+ts.MkAbs(args[0]))
	ts.Check(err)
	defer db.Close()
	_, err = db.Exec(args[1])
	ts.Check(err)
}

func mount(ts *testscript.TestScript, args ...string) {
	if out, err := exec.Command("mount", args...).CombinedOutput(); err != nil {
		ts.Fatalf("mount %s: %v: %s; this script needs the right to mount: run it as root", strings.Join(args, " "), err, out)
	}
}

// tmpfs DIR SIZE mounts a disk of SIZE, such as 2m, on DIR.
func cmdTmpfs(ts *testscript.TestScript, neg bool, args []string) {
	positive(ts, neg, args, 2, "tmpfs DIR SIZE")
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	mount(ts, "-t", "tmpfs", "-o", "size="+args[1], "tmpfs", dir)
	ts.Defer(func() { _ = exec.Command("umount", "-l", dir).Run() })
}

// readonly DIR prevents writes below DIR, even by root.
func cmdReadOnly(ts *testscript.TestScript, neg bool, args []string) {
	positive(ts, neg, args, 1, "readonly DIR")
	dir := ts.MkAbs(args[0])
	mount(ts, "--bind", dir, dir)
	ts.Defer(func() { _ = exec.Command("umount", "-l", dir).Run() })
	mount(ts, "-o", "remount,bind,ro", dir)
}

// writable DIR undoes readonly.
func cmdWritable(ts *testscript.TestScript, neg bool, args []string) {
	positive(ts, neg, args, 1, "writable DIR")
	mount(ts, "-o", "remount,bind,rw", ts.MkAbs(args[0]))
}

// generate N DIR writes a system of 2 sources and N features, each of which
// reads a source or an earlier feature.
func cmdGenerate(ts *testscript.TestScript, neg bool, args []string) {
	positive(ts, neg, args, 2, "generate N DIR")
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	cmdModule(ts, false, args[1:])
	var b strings.Builder
	b.WriteString("package many\n\nimport (\n\t\"tenon.dev/col\"\n\t\"tenon.dev/feature\"\n\t\"tenon.dev/source\"\n\t\"tenon.dev/tenon\"\n)\n\ntenon.#System\nname: \"many\"\n\n")
	for s := range 2 {
		fmt.Fprintf(&b, "sources: s%d: source.#CSV & {path: \"s.csv\", schema: {id: col.#Int64, x: col.#Float64}}\n", s)
	}
	for i := range n {
		from := fmt.Sprintf("sources.s%d.out", i%2)
		if i >= 100 {
			from = fmt.Sprintf("features.f%d.out", i/10)
		}
		fmt.Fprintf(&b, "features: f%d: feature.#SQL & {in: t: %s, sql: \"SELECT id, x + %d AS x FROM t\", schema: {id: col.#Int64, x: col.#Float64}}\n", i, from, i)
	}
	dir := ts.MkAbs(args[1])
	ts.Check(os.WriteFile(filepath.Join(dir, "many.cue"), []byte(b.String()), 0o644))
	ts.Check(os.WriteFile(filepath.Join(dir, "s.csv"), []byte("id,x\n1,0.5\n"), 0o644))
}

// cueDir is the folder of the stock cue command that was built.
var cueDir string

var stockCue = sync.OnceValues(func() (string, error) {
	path := filepath.Join(cueDir, "cue")
	if out, err := exec.Command("go", "build", "-o", path, "cuelang.org/go/cmd/cue").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build cue: %w: %s", err, out)
	}
	return path, nil
})

// cue ARGS... runs the stock cue command in the version that tenon is built with. It
// cannot reach a registry.
func cmdCue(ts *testscript.TestScript, neg bool, args []string) {
	path, err := stockCue()
	ts.Check(err)
	ts.Setenv("CUE_REGISTRY", "none")
	if err := ts.Exec(path, args...); (err != nil) != neg {
		ts.Fatalf("cue %s: %v", strings.Join(args, " "), err)
	}
}

// jargon matches what a user should not have to read.
var jargon = regexp.MustCompile(`(?i)panic|goroutine|\.go:\d|runtime error|nil pointer|0x[0-9a-f]{6,}|%!|<nil>|unmarshal|\bEOF\b|syscall|sql: |[^.]json: |strconv|context (canceled|deadline)|map\[|&\{`)

// plainly checks that the output of the last command is plain text: no Go jargon, and no
// overlong lines.
func cmdPlainly(ts *testscript.TestScript, neg bool, args []string) {
	positive(ts, neg, args, 0, "plainly [LINES]")
	text := ts.ReadFile("stdout") + ts.ReadFile("stderr")
	if m := jargon.FindString(text); m != "" {
		ts.Fatalf("%q is said:\n%s", m, text)
	}
	if strings.TrimSpace(ts.ReadFile("stdout")+ts.ReadFile("stderr")) == "" {
		ts.Fatalf("nothing is said")
	}
	if len(args) == 1 {
		most, err := strconv.Atoi(args[0])
		ts.Check(err)
		if n := strings.Count(strings.TrimRight(ts.ReadFile("stderr"), "\n"), "\n") + 1; n > most {
			ts.Fatalf("%d lines of error, at most %d are wanted:\n%s", n, most, text)
		}
	}
}
