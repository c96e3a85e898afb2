package pyenv

import (
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/tenon-ml/tenon/internal/lazyregexp"
)

// Missing is what has to be installed for an environment.
type Missing struct {
	Packages []Package // as the lock lists them for this machine
	Problem  error     // why the environment cannot be made here, or nil
}

// A Package is one package of a lock.
type Package struct {
	Name  string // with the version: "numpy==2.4.6"
	Bytes int64  // of its wheel, or 0 if unknown; what uv has cached is not downloaded again
}

// Missing returns what the environment of a lock consists of, or nil if it is installed.
// It uses no network and starts no process.
func (e *Env) Missing(lockText []byte) *Missing {
	if e.Installed(lockText) != "" {
		return nil
	}
	m := &Missing{}
	if _, err := exec.LookPath(e.opts.UV); err != nil {
		m.Problem = ErrNoUV
	}
	var sizes map[string]int64
	if e.opts.Sizes != nil {
		sizes = e.opts.Sizes()
	}
	for _, p := range packages(lockText) {
		if evaluate(p.marker) == no {
			continue
		}
		pkg := Package{Name: p.name}
		for _, h := range p.hashes {
			pkg.Bytes = max(pkg.Bytes, sizes[h])
		}
		m.Packages = append(m.Packages, pkg)
	}
	return m
}

// Installed returns the interpreter of the environment of a lock, or "" if it is not
// installed. It uses no network and starts no process.
func (e *Env) Installed(lockText []byte) (python string) {
	in := load(e.kept())
	if in == nil {
		return ""
	}
	dir := filepath.Join(e.opts.Dir, key(lockText, in))
	if !complete(dir) {
		return ""
	}
	return interpreterIn(dir)
}

// A Requirement is a package that a lock pins for this machine.
type Requirement struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"` // "" if it is pinned by an address
	// Marker is a condition that is not decided here.
	Marker string `json:"marker,omitempty"`
}

// Requirements returns what a lock pins for this machine, in its order.
func Requirements(lockText []byte) []Requirement {
	var all []Requirement
	for _, p := range packages(lockText) {
		r := Requirement{}
		switch evaluate(p.marker) {
		case no:
			continue
		case unknown:
			r.Marker = p.marker
		}
		r.Name, r.Version, _ = strings.Cut(p.name, "==")
		r.Name, _, _ = strings.Cut(r.Name, " @ ")
		r.Name, _, _ = strings.Cut(r.Name, "[") // extras
		all = append(all, r)
	}
	return all
}

// A locked package is one requirement of a lock.
type locked struct {
	name   string // with the version: "numpy==2.4.6"
	marker string
	hashes []string // "sha256:...", of its wheels for all platforms
}

func packages(lockText []byte) []locked {
	var all []locked
	joined := strings.ReplaceAll(string(lockText), "\\\n", " ")
	for line := range strings.Lines(joined) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), " #")
		if line == "" || strings.HasPrefix(line, "#") || strings.HasPrefix(line, "-") {
			continue
		}
		text, rest, _ := strings.Cut(line, " --hash=")
		name, marker, _ := strings.Cut(text, ";")
		p := locked{name: strings.TrimSpace(name), marker: strings.TrimSpace(marker)}
		for _, h := range strings.Split(rest, " --hash=") {
			p.hashes = append(p.hashes, strings.TrimSpace(h))
		}
		all = append(all, p)
	}
	return all
}

// A truth is the value of a condition, which may be unknown.
type truth int

const (
	no truth = iota
	unknown
	yes
)

// machine holds the values of the platform-dependent marker variables on this machine.
var machine = map[string]string{
	"sys_platform": runtime.GOOS, "platform_system": strings.ToUpper(runtime.GOOS[:1]) + runtime.GOOS[1:],
	"os_name": "posix", "platform_machine": map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH],
	"platform_python_implementation": "CPython", "implementation_name": "cpython",
}

var token = lazyregexp.New(`\(|\)|'[^']*'|"[^"]*"|[A-Za-z_]+|[=!<>~]+`)

// evaluate evaluates the marker of a requirement, which may be empty, for this machine and
// [PythonVersion]. What depends on more than that is unknown.
func evaluate(marker string) truth {
	if marker == "" {
		return yes
	}
	p := parser{tokens: token.FindAllString(marker, -1)}
	return p.any()
}

type parser struct{ tokens []string }

func (p *parser) next() (t string) {
	if len(p.tokens) > 0 {
		t, p.tokens = p.tokens[0], p.tokens[1:]
	}
	return t
}

func (p *parser) peek(t string) bool { return len(p.tokens) > 0 && p.tokens[0] == t }

func (p *parser) any() truth {
	t := p.all()
	for p.peek("or") {
		p.next()
		t = max(t, p.all())
	}
	return t
}

func (p *parser) all() truth {
	t := p.one()
	for p.peek("and") {
		p.next()
		t = min(t, p.one())
	}
	return t
}

func (p *parser) one() truth {
	if p.peek("(") {
		p.next()
		t := p.any()
		p.next()
		return t
	}
	name, op, value := p.next(), p.next(), strings.Trim(p.next(), `'"`)
	have, known := machine[name]
	switch {
	case name == "python_version" || name == "python_full_version":
		return compare(op, value, name == "python_full_version")
	case known && op == "==":
		return truthOf(have == value)
	case known && op == "!=":
		return truthOf(have != value)
	case op == "not": // "not in" is handled as one operator
		p.next()
	}
	return unknown
}

// compare compares [PythonVersion] with a version. If full, a patch level that is not
// known follows it.
func compare(op, value string, full bool) truth {
	minor := func(version string) (int, bool) {
		text, ok := strings.CutPrefix(version, "3.")
		n, err := strconv.Atoi(text)
		return n, ok && err == nil
	}
	have, _ := minor(PythonVersion)
	want, ok := minor(value)
	if !ok || full && have == want && op != "<" && op != ">=" {
		return unknown
	}
	switch op {
	case "<":
		return truthOf(have < want)
	case "<=":
		return truthOf(have <= want)
	case ">":
		return truthOf(have > want)
	case ">=":
		return truthOf(have >= want)
	case "==":
		return truthOf(have == want)
	case "!=":
		return truthOf(have != want)
	}
	return unknown
}

func truthOf(ok bool) truth {
	if ok {
		return yes
	}
	return no
}
