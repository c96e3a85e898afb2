package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/planner/state"
)

// fortyUnits share eight GPUs. Each requests one to three of them; some depend on others.
// %[1]s is the target.
const fortyUnits = `package lab

import (
	"tenon.dev/step"
	"tenon.dev/tenon"
)

tenon.#System
name:   "lab"
target: "here"

targets: here: %[1]s
resources: lab: tenon.#Pool & {cpu: 64, memory: "64GiB", gpu: {count: 8, model: "X1", memory: "16GiB"}}

for i in _numbers {
	steps: "u\(i)": step.#Command & {
		command: ["sh", "hold.sh"]
		files: ["hold.sh"]
		params: unit: i
		outputs: out: kind: "file"
		needs: {cpu: 0.5, gpu: count: 1 + mod(i, 3)}
		if i > 30 {
			in: first: steps["u\(i-30)"].out.out
		}
	}
}
_numbers: [%[2]s]
`

// holdSh logs from when to when it has which devices: those in the variable for local
// processes, or else those in its container.
const holdSh = `ids=$CUDA_VISIBLE_DEVICES
[ -n "$ids" ] || ids=$(cd /dev && echo lab* | sed 's/lab//g; s/ /,/g')
echo "hold $ids $(date +%s%N)"
sleep 0.1
echo "free $(date +%s%N)"
echo done > "${TENON_STEP%/step.json}/out/out"
`

// labSpec returns the CDI specification of eight devices, each of which is /dev/null
// under another name.
func labSpec() string {
	spec := "cdiVersion: 0.6.0\nkind: lab.example/gpu\nannotations: {tenon.dev/model: Lab X1, tenon.dev/memory: 16GiB}\ndevices:\n"
	for i := range 8 {
		spec += fmt.Sprintf("- name: %q\n  containerEdits: {deviceNodes: [{path: /dev/lab%d, type: c, major: 1, minor: 3}]}\n", strconv.Itoa(i), i)
	}
	return spec
}

// killedAt are moments at which an apply of forty units is killed.
var killedAt = []string{"after begin run of steps/u17", "after the start of steps/u20", "before the wait for steps-u32-1", "after finish run of steps/u5"}

func TestFortyUnitsShareEightGPUs(t *testing.T) {
	shareGPUs(t, "tenon.#Process", killedAt)
}

// In containers a unit has the devices in its /dev, and no variable lists them.
func TestFortyContainersShareEightGPUs(t *testing.T) {
	_, target, env := startContainers(t)
	shareGPUs(t, target(fmt.Sprintf("base: %q", madeImage)), killedAt[1:3], append(env, "TENON_CACHE="+sharedCache(t))...)
}

// shareGPUs applies forty units on a target, kills the apply at some moments, and checks
// which unit had which device when.
func shareGPUs(t *testing.T, target string, killedAt []string, env ...string) {
	numbers := make([]string, 40)
	for i := range numbers {
		numbers[i] = strconv.Itoa(i)
	}
	for _, at := range append([]string{""}, killedAt...) {
		name := cmp.Or(at, "undisturbed")
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			s := newSystem(t, nil)
			defer s.remove()
			s.write("cdi/lab.yaml", labSpec())
			s.write("hold.sh", holdSh)
			s.write("system.cue", fmt.Sprintf(fortyUnits, target, strings.Join(numbers, ", ")))
			env := append(slices.Clone(env), "TENON_CDI="+filepath.Join(s.dir, "cdi"))
			if at != "" {
				if out, err := s.tenon([]string{"apply", "--yes"}, append(env, faultKill+"="+at)...); err == nil {
					t.Fatalf("it was not killed\n%s", out)
				}
			}
			if out, err := s.tenon([]string{"apply", "--yes"}, env...); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			lentWell(t, s)
			out, err := s.tenon([]string{"devices", "--json"}, env...)
			var devices []project.Device
			if err == nil {
				err = json.Unmarshal([]byte(out), &devices)
			}
			if err != nil || len(devices) != 8 {
				t.Fatalf("%v\n%s", err, out)
			}
			for _, d := range devices {
				if len(d.Held) > 0 {
					t.Errorf("%s is held by %v, and all has ended", d.Name, d.Held)
				}
			}
		})
	}
}

// A hold is the time during which a run had a device.
type hold struct {
	run      string
	from, to int64
}

// lentWell: every unit ran, had the recorded devices, as many as it requested, never one
// that another unit had, and each device was used.
func lentWell(t *testing.T, s *system) {
	store, err := state.Open(context.Background(), filepath.Join(s.dir, ".tenon"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	pending, err := store.Pending(t.Context())
	if err != nil || len(pending) > 0 {
		t.Errorf("the journal holds %v, %v", pending, err)
	}
	holds := map[string][]hold{} // by device
	for i := range 40 {
		unit := fmt.Sprint("steps/u", i)
		runs, err := store.Runs(t.Context(), unit, 10)
		if err != nil {
			t.Fatal(err)
		}
		done := 0
		for _, r := range runs {
			if r.Outcome == state.Done {
				done++
			}
			if len(r.Devices) != 1+i%3 {
				t.Errorf("%s had %v", unit, r.Devices)
			}
			ids, from, to := readHold(t, s, r)
			for _, id := range ids {
				holds[id] = append(holds[id], hold{fmt.Sprintf("%s, attempt %d", unit, r.Attempt), from, to})
				if !slices.Contains(r.Devices, "lab.example/gpu="+id) {
					t.Errorf("%s found the devices %v, recorded are %v", unit, ids, r.Devices)
				}
			}
			if len(ids) > 0 && len(ids) != len(r.Devices) {
				t.Errorf("%s found the devices %v, recorded are %v", unit, ids, r.Devices)
			}
		}
		if done != 1 {
			t.Errorf("%s was done %d times", unit, done)
		}
	}
	if len(holds) != 8 {
		t.Errorf("%d devices were used", len(holds))
	}
	for id, hs := range holds {
		slices.SortFunc(hs, func(a, b hold) int { return cmp.Compare(a.from, b.from) })
		for i := range hs[1:] {
			if a, b := hs[i], hs[i+1]; b.from < a.to {
				t.Errorf("device %s was had by %s until %v, and by %s from %v", id, a.run, time.Unix(0, a.to), b.run, time.Unix(0, b.from))
			}
		}
	}
}

// readHold returns what a run had and when. A run that never began has nothing; a run
// that was ended had it until then.
func readHold(t *testing.T, s *system, r state.Run) (ids []string, from, to int64) {
	b, err := os.ReadFile(filepath.Join(s.dir, ".tenon", r.Log))
	if os.IsNotExist(err) {
		return nil, 0, 0
	} else if err != nil {
		t.Fatal(err)
	}
	to = r.Finished.UnixNano()
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		n, err := strconv.ParseInt(f[len(f)-1], 10, 64)
		if err != nil {
			t.Fatalf("%s: %q", r.Log, line)
		}
		if f[0] == "hold" {
			ids, from = strings.Split(f[1], ","), n
		} else {
			to = n
		}
	}
	return ids, from, to
}
