package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A resource is what a file has.
type resource struct {
	Type   string         `json:"type"`
	ID     string         `json:"id"`
	Values map[string]any `json:"values"`
}

// A cloud is a folder: TYPE/DIGEST.json has a resource, and the file "calls" a line for each call that changes one.
type cloud struct {
	dir, hook string
	fault     fault

	mu sync.Mutex
}

// A fault is what happens at a call: "3 kill" kills the program that has started OpenTofu before the third call,
// "3 killed" after it, "3 group" and "3 grouped" kill OpenTofu and the provider besides, "3 fail" refuses the call, and
// "3 block" waits before it until somebody removes the file "blocked".
type fault struct {
	call int
	what string
}

func openCloud() (*cloud, error) {
	c := &cloud{dir: os.Getenv(cloudVariable), hook: os.Getenv(hookVariable)}
	if c.dir == "" {
		return nil, fmt.Errorf("$%s names no folder", cloudVariable)
	}
	if text := os.Getenv(faultVariable); text != "" {
		n, what, _ := strings.Cut(text, " ")
		var err error
		if c.fault.call, err = strconv.Atoi(n); err != nil {
			return nil, fmt.Errorf("$%s: %w", faultVariable, err)
		}
		c.fault.what = what
	}
	return c, os.MkdirAll(c.dir, 0o755)
}

func (c *cloud) path(of, id string) string {
	sum := sha256.Sum256([]byte(id))
	return filepath.Join(c.dir, of, fmt.Sprintf("%x.json", sum[:8]))
}

// get returns a resource, or nil if there is none.
func (c *cloud) get(of, id string) (*resource, error) {
	b, err := os.ReadFile(c.path(of, id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r := new(resource)
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	return r, d.Decode(r)
}

// change creates, updates or deletes a resource, one at a time.
func (c *cloud) change(action string, r resource) (err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := c.count(action, r)
	if err != nil {
		return err
	}
	if n == c.fault.call {
		if err := c.before(action, r); err != nil {
			return err
		}
		defer func() { c.after() }()
	}
	there, err := c.get(r.Type, r.ID)
	switch {
	case err != nil:
		return err
	case action == "create" && there != nil:
		return fmt.Errorf("%s %s already exists", r.Type, r.ID)
	case action != "create" && there == nil:
		return fmt.Errorf("there is no %s %s", r.Type, r.ID)
	case action == "delete" && there.Values["deletion_protection"] == true:
		return fmt.Errorf("%s %s has deletion_protection", r.Type, r.ID)
	}
	if err := c.tell(action, r); err != nil {
		return err
	}
	if action == "delete" {
		return os.Remove(c.path(r.Type, r.ID))
	}
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	path := c.path(r.Type, r.ID)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path+".part", append(b, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".part", path)
}

// count notes a call, and returns its number.
func (c *cloud) count(action string, r resource) (int, error) {
	f, err := os.OpenFile(filepath.Join(c.dir, "calls"), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return 0, err
	}
	defer f.Close() // which unlocks it
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return 0, err
	}
	b, err := io.ReadAll(f)
	if err == nil {
		_, err = fmt.Fprintln(f, action, r.Type, r.ID)
	}
	return bytes.Count(b, []byte("\n")) + 1, err
}

func (c *cloud) before(action string, r resource) error {
	switch c.fault.what {
	case "fail":
		return fmt.Errorf("the cloud refuses to %s %s %s", action, r.Type, r.ID)
	case "kill":
		return kill(false)
	case "group":
		return kill(true)
	case "block":
		path := filepath.Join(c.dir, "blocked")
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			return err
		}
		for {
			if _, err := os.Stat(path); err != nil {
				return nil
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	return nil
}

func (c *cloud) after() {
	switch c.fault.what {
	case "killed":
		_ = kill(false)
	case "grouped":
		_ = kill(true)
	}
}

// kill kills the program that has started OpenTofu, and, with all, OpenTofu and this program.
func kill(all bool) error {
	tofu := os.Getppid()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", tofu))
	if err != nil {
		return err
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 2 {
		return fmt.Errorf("/proc/%d/stat has another form", tofu)
	}
	starter, err := strconv.Atoi(fields[1])
	if err != nil || starter <= 1 {
		return fmt.Errorf("OpenTofu was started by %q", fields[1])
	}
	err = syscall.Kill(starter, syscall.SIGKILL)
	if all {
		err = errors.Join(err, syscall.Kill(tofu, syscall.SIGKILL), syscall.Kill(os.Getpid(), syscall.SIGKILL))
		time.Sleep(time.Minute) // until the signal arrives
	}
	return err
}

// tell sends a change to whoever stands for the cloud, which may refuse it.
func (c *cloud) tell(action string, r resource) error {
	if c.hook == "" {
		return nil
	}
	b, err := json.Marshal(map[string]any{"action": action, "type": r.Type, "id": r.ID, "values": r.Values})
	if err != nil {
		return err
	}
	resp, err := http.Post(c.hook, "application/json", bytes.NewReader(b))
	if err != nil {
		return err
	}
	said, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s %s: %s", action, r.Type, r.ID, bytes.TrimSpace(said))
	}
	return err
}
