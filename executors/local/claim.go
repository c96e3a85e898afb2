package local

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/internal/files"
)

// A Claim says which service has an address of this machine, for all systems and users.
// It is a file, and it is void once its service has no process left, so whoever is killed
// leaves nothing that has to be cleaned up.
type Claim struct {
	Name string `json:"name"` // of the task
	Unit string `json:"unit"`
	Dir  string `json:"dir"` // the run's folder
	// State is the lineage of the state that started it; an older tenon wrote none.
	State string `json:"state,omitempty"`
	// Env is the environment of that state, if it has a name.
	Env  string `json:"env,omitempty"`
	Host string `json:"host"`
	Port int    `json:"port"`
	Ident
	// Container says that the process is the first one of a container. Otherwise it leads
	// a session.
	Container bool `json:"container,omitempty"`
	// Beside are the services that it takes over from. They listen too until they end.
	Beside []Claim `json:"beside,omitempty"`
}

// NewClaim returns the claim of a started service, by its task state.
func NewClaim(ts TaskState, id Ident, container bool) Claim {
	c := Claim{Name: ts.Name, Unit: ts.Unit, Dir: ts.Dir, Ident: id, Container: container}
	if ts.Endpoint != nil {
		c.Host, c.Port = ts.Endpoint.Host, ts.Endpoint.Port
	}
	return c
}

func (c Claim) endpoint() *ir.Endpoint { return &ir.Endpoint{Host: c.Host, Port: c.Port} }

// holds reports whether a process of the service is left, or may be.
func (c Claim) holds() bool {
	if c.Container || c.Alive() {
		return c.Alive() // with the first process of a container, the kernel ends all
	}
	members, err := Session{Ident: c.Ident, Dir: c.Dir}.Members()
	return err != nil || len(members) > 0
}

// processes lists the processes of the service.
func (c Claim) processes() []int {
	if c.Container {
		if !c.Alive() {
			return nil
		}
		return groupOf(c.Pid)
	}
	members, err := Session{Ident: c.Ident, Dir: c.Dir}.Members()
	if err != nil {
		return nil
	}
	pids := make([]int, len(members))
	for i, p := range members {
		pids[i] = p.PID
	}
	return pids
}

// owner names the service and the system's folder.
func (c Claim) owner() string {
	system := filepath.Dir(c.Dir)
	if filepath.Base(system) == "runs" {
		system = filepath.Dir(system)
	}
	if filepath.Base(system) == ".tenon" {
		system = filepath.Dir(system)
	}
	if c.Env != "" {
		return printable(c.Unit + " in the environment " + c.Env + " of " + system)
	}
	return printable(c.Unit + " of " + system)
}

// orphanOf reports whether a state that was in the folder of the task's before has started the
// service. The state of the task does not know it, so nothing would end it.
func (c Claim) orphanOf(t executors.Task) bool {
	return filepath.Dir(c.Dir) == filepath.Dir(t.Dir) && c.State != "" && c.State != t.State
}

// yields reports whether the service gives its address to a task: it is the one before it,
// an earlier start of the same unit, or the plan removes it. prior may be nil.
func (c Claim) yields(t executors.Task, prior *Claim) bool {
	if prior != nil && c.Dir == prior.Dir {
		return true
	}
	if c.orphanOf(t) {
		return false
	}
	if c.Dir == t.Dir {
		return true
	}
	return filepath.Dir(c.Dir) == filepath.Dir(t.Dir) && c.Env == t.Environment && (c.Unit == t.Unit.ID || slices.Contains(t.Leaving, c.Unit))
}

// An Address is the address of a service that is being started. While it is open, no other
// start gets an address with that port. One of a task without an endpoint does nothing.
type Address struct {
	task executors.Task
	all  []reserved
}

// A reserved address is one of those that a service listens on.
type reserved struct {
	at     *ir.Endpoint
	dir    string
	locked *os.File
	beside []Claim
}

// Reserve returns the address of a task. It returns an error that names the owner if
// anybody else has the address. The task may take over from prior, which may be nil, and
// from services that yield to it.
func Reserve(ctx context.Context, t executors.Task, prior *Claim) (*Address, error) {
	a := &Address{task: t}
	if t.Unit.Kind != ir.Service {
		return a, nil
	}
	all := t.Unit.Endpoint.All()
	// Two starts never wait for a port that the other one has.
	slices.SortFunc(all, func(a, b *ir.Endpoint) int { return cmp.Compare(a.Port, b.Port) })
	for _, at := range all {
		dir, locked, err := lockPort(ctx, at.Port)
		if err != nil {
			a.Close()
			return nil, err
		}
		beside, by, err := taken(ctx, dir, at, t, prior)
		a.all = append(a.all, reserved{at, dir, locked, beside})
		if err == nil && by != "" {
			err = fmt.Errorf("%s is in use by %s: stop it, or choose another port", at.Address(), by)
		}
		if err != nil {
			a.Close()
			return nil, err
		}
	}
	return a, nil
}

// Taken names who has the address of a task, or returns "" if the task could have it now.
// It claims nothing.
func Taken(ctx context.Context, t executors.Task, prior *Claim) (by string, err error) {
	if t.Unit.Kind != ir.Service {
		return "", nil
	}
	for _, at := range t.Unit.Endpoint.All() {
		if _, by, err = taken(ctx, portDir(at.Port), at, t, prior); err != nil || by != "" {
			return by, err
		}
	}
	return "", nil
}

// taken returns the services that yield the address to a task, or else who has it: another
// service, or any other program that listens there.
func taken(ctx context.Context, dir string, at *ir.Endpoint, t executors.Task, prior *Claim) (beside []Claim, by string, err error) {
	claims, err := claimsIn(dir)
	if err != nil {
		return nil, "", err
	}
	if prior != nil {
		claims = append(claims, *prior) // one of an older tenon has no file
	}
	for _, c := range claims {
		switch {
		case !c.endpoint().Overlaps(at) || !c.holds():
		case !c.yields(t, prior) && c.orphanOf(t):
			end := fmt.Sprintf("kill -- -%d", c.Pid) // the group of its session
			if c.Container {
				end = fmt.Sprintf("kill %d", c.Pid)
			}
			return nil, fmt.Sprintf("%s, which a state that is gone has started (`%s` ends it)", c.owner(), end), nil
		case !c.yields(t, prior):
			return nil, c.owner(), nil
		case !slices.ContainsFunc(beside, func(o Claim) bool { return o.Dir == c.Dir }):
			c.Beside = nil
			beside = append(beside, c)
		}
	}
	by, err = stranger(ctx, at, beside)
	return beside, by, err
}

// family returns a service, the services that it takes over from, and those that take over
// from it.
func (c Claim) family() []Claim {
	all := []Claim{c}
	claims, _ := claimsIn(portDir(c.Port)) // without them, the service is on its own
	for _, o := range claims {
		switch {
		case o.Dir == c.Dir:
			all = append(all, o.Beside...)
		case slices.ContainsFunc(o.Beside, func(b Claim) bool { return b.Dir == c.Dir }):
			all = append(all, o)
		}
	}
	return all
}

// Claim records that the address belongs to the task with this process. The program must
// not have been started yet, so that no service runs without its claim.
func (a *Address) Claim(id Ident, container bool) error {
	t := a.task
	name := folderID(t.Dir) + "-" + strconv.Itoa(os.Getuid()) // nobody else may replace our file
	for _, r := range a.all {
		c := NewClaim(TaskState{Name: t.Name, Unit: t.Unit.ID, Dir: t.Dir, Endpoint: r.at}, id, container)
		c.Beside, c.State, c.Env = r.beside, t.State, t.Environment
		b, err := json.Marshal(c)
		if err != nil {
			return err
		}
		if err := files.Write(filepath.Join(r.dir, name), append(b, '\n'), 0o644); err != nil {
			return fmt.Errorf("claim %s: %w", r.at.Address(), err)
		}
	}
	return nil
}

// Close lets others start services on the port again.
func (a *Address) Close() {
	for _, r := range a.all {
		tidy(r.dir)
		r.locked.Close()
	}
}

// Release removes the claim of a service that has ended. This only saves space: the claim
// is void. So it is left to somebody who is using the claims of the port right now.
func Release(at *ir.Endpoint) {
	once, cancel := context.WithCancel(context.Background())
	cancel()
	for _, one := range at.All() {
		dir := portDir(one.Port)
		locked, err := Lock(once, dir)
		if err != nil {
			continue
		}
		tidy(dir)
		locked.Close()
	}
}

// tidy removes void claims, and the folder of the port once it is empty. The folder is
// locked.
func tidy(dir string) {
	_ = files.Sweep(dir)
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if c, err := readClaim(path); errors.Is(err, fs.ErrNotExist) || err == nil && !c.holds() {
			_ = os.Remove(path) // fails for a claim of another user
		}
	}
	_ = os.Remove(dir)
}

// claimsIn reads the claims in the folder of a port.
func claimsIn(dir string) ([]Claim, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var claims []Claim
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), files.HalfWritten) {
			continue
		}
		c, err := readClaim(filepath.Join(dir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // its service has ended
		}
		if err != nil {
			return nil, err
		}
		claims = append(claims, c)
	}
	return claims, nil
}

// readClaim reads a claim. One that was cut off by a power failure counts as void: its
// service is gone too.
func readClaim(path string) (c Claim, err error) {
	info, err := os.Lstat(path)
	if err != nil {
		return c, err
	}
	if !info.Mode().IsRegular() {
		return c, fmt.Errorf("%s is not a claim of tenon: remove it", path)
	}
	return c, ReadJSON(path, &c)
}

// shared are the folders that may hold the claims of a machine: all users can write there,
// and nobody can remove what belongs to another. The first is in memory, and no service of
// the system removes old files from it.
var shared = []string{"/dev/shm", "/tmp"}

// claimsDir returns the folder of all claims. It does not depend on the environment, which
// differs between users.
func claimsDir() string {
	for _, dir := range shared {
		if info, err := os.Stat(dir); err == nil && forAll(info) {
			return filepath.Join(dir, "tenon-ports")
		}
	}
	return filepath.Join(shared[len(shared)-1], "tenon-ports")
}

func portDir(port int) string { return filepath.Join(claimsDir(), strconv.Itoa(port)) }

// forAll reports whether a folder is one in which all users can keep files of their own.
func forAll(info fs.FileInfo) bool {
	return info.IsDir() && info.Mode()&fs.ModeSticky != 0 && info.Mode().Perm() == 0o777
}

// lockPort locks the folder with the claims of a port, and creates it if needed.
func lockPort(ctx context.Context, port int) (dir string, locked *os.File, err error) {
	dir = portDir(port)
	for {
		for _, d := range []string{filepath.Dir(dir), dir} {
			if err := makeForAll(d); err != nil {
				return "", nil, err
			}
		}
		locked, err = Lock(ctx, dir)
		if !errors.Is(err, fs.ErrNotExist) {
			return dir, locked, err // otherwise somebody has just removed the empty folder
		}
	}
}

// makeForAll creates a folder for the files of all users. It does not follow a symbolic
// link, with which somebody could lead others to write elsewhere.
func makeForAll(dir string) error {
	err := os.Mkdir(dir, 0o777)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("claim a port: %w", err)
	}
	info, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && forAll(info) {
		return nil
	}
	if err == nil && info.IsDir() { // new, or its maker was killed
		err = os.Chmod(dir, 0o777|fs.ModeSticky)
	}
	if err == nil && info.IsDir() || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("claim a port: %s is not a folder in which all users can keep claims: remove it", dir)
}

// printable replaces what may not be printed: everybody can write claims.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}
