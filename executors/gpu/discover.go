package gpu

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"tags.cncf.io/container-device-interface/pkg/cdi"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
)

// Annotations of a CDI specification, or of a device in it, for what nvidia-smi does
// not report.
const (
	modelKey  = "tenon.dev/model"
	memoryKey = "tenon.dev/memory" // "80GiB"
	sliceKey  = "tenon.dev/slice"  // of a device that is a slice: "1g.10gb"
)

// Options configure where to look.
type Options struct {
	CDIDirs   []string // folders with CDI specifications; default /etc/cdi and /var/run/cdi
	NvidiaSMI string   // path of the program; "" is nvidia-smi in $PATH, if it exists
}

// Discover finds the GPUs of this machine: the devices of class "gpu" in CDI
// specifications, and those that nvidia-smi lists. A device that both list has its CDI
// name and nvidia-smi's description. It is no error if the machine has none.
func Discover(ctx context.Context, o Options) ([]executors.GPU, error) {
	cards, err := askNvidia(ctx, o.NvidiaSMI)
	if err != nil {
		return nil, err
	}
	cache, err := readCDI(o.CDIDirs)
	if err != nil {
		return nil, err
	}
	f := finder{cards: cards, gpus: map[key]*executors.GPU{}, seen: map[string]bool{}}
	// A device may have several names. Prefer its index, which is shorter than its
	// unique id.
	names := cache.ListDevices()
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b)) })
	for _, name := range names {
		if err := f.add(name, cache.GetDevice(name)); err != nil {
			return nil, err
		}
	}
	for _, c := range cards {
		f.addCard(c)
	}
	return f.found(), nil
}

// Inject adds the devices to the specification of a container. dirs is as in [Options].
func Inject(spec *specs.Spec, devices []executors.Device, dirs []string) error {
	var names []string
	for _, d := range devices {
		if !slices.Contains(names, d.Name) {
			names = append(names, d.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	cache, err := readCDI(dirs)
	if err != nil {
		return err
	}
	if missing, err := cache.InjectDevices(spec, names...); len(missing) > 0 {
		return fmt.Errorf("no CDI specification has %s: for NVIDIA GPUs, create one with `nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml`",
			strings.Join(missing, " and "))
	} else if err != nil {
		return fmt.Errorf("give the container its GPUs: %w", err)
	}
	return nil
}

func readCDI(dirs []string) (*cdi.Cache, error) {
	options := []cdi.Option{cdi.WithAutoRefresh(false)}
	if len(dirs) > 0 {
		options = append(options, cdi.WithSpecDirs(dirs...))
	}
	cache, err := cdi.NewCache(options...)
	if err != nil {
		return nil, fmt.Errorf("read the CDI specifications: %w", err)
	}
	faults := cache.GetErrors()
	for _, path := range slices.Sorted(maps.Keys(faults)) {
		return nil, fmt.Errorf("read the CDI specification %s: %w", path, faults[path][0])
	}
	return cache, nil
}

// A key identifies a device regardless of its name: the kind, the index of the device,
// and the index of the slice or "".
type key struct{ kind, device, slice string }

// A finder merges what is known about each device.
type finder struct {
	cards []card
	gpus  map[key]*executors.GPU
	seen  map[string]bool // keys and sets of device nodes already added
}

// add adds a device that CDI names, unless it is not a single GPU or was already added
// under another name.
func (f *finder) add(name string, d *cdi.Device) error {
	spec := d.GetSpec()
	if spec.GetClass() != "gpu" || d.Name == "all" {
		return nil
	}
	k := key{kind: spec.GetVendor() + "/" + spec.GetClass()}
	k.device, k.slice, _ = strings.Cut(d.Name, ":")
	if k.kind == nvidia {
		k = f.nvidiaKey(d.Name)
	}
	nodes := nodesOf(d)
	if f.seen[fmt.Sprint(k)] || nodes != "" && f.seen[nodes] {
		return nil
	}
	f.seen[fmt.Sprint(k)], f.seen[nodes] = true, true

	say := func(key string) string { return cmp.Or(d.Annotations[key], spec.Annotations[key]) }
	device := executors.Device{Name: name, ID: d.Name}
	whole := f.gpu(k)
	if k.slice != "" {
		device.Part = cmp.Or(say(sliceKey), "unknown")
		whole.Slices = append(whole.Slices, device)
		return nil
	}
	whole.Device, whole.Model = device, say(modelKey)
	if text := say(memoryKey); text != "" {
		if whole.Memory = ir.ParseSize(text); whole.Memory == 0 {
			return fmt.Errorf("%s: %s of %s is %q: use a size such as 80GiB", spec.GetPath(), memoryKey, name, text)
		}
	}
	return nil
}

// gpu returns the device of a key, and creates it if only its slices are known so far.
func (f *finder) gpu(k key) *executors.GPU {
	k.slice = ""
	if f.gpus[k] == nil {
		f.gpus[k] = &executors.GPU{Device: executors.Device{Name: k.kind + "=" + k.device, ID: k.device}}
	}
	return f.gpus[k]
}

// nvidiaKey returns the key for a name from nvidia-ctk: an index ("0", "gpu0", "0:1",
// "mig0:1") or a unique id ("GPU-...", "MIG-...").
func (f *finder) nvidiaKey(name string) key {
	for _, c := range f.cards {
		if name == c.uuid {
			return key{nvidia, c.index, ""}
		}
		for _, m := range c.slices {
			if name == m.uuid {
				return key{nvidia, c.index, m.index}
			}
		}
	}
	device, slice, _ := strings.Cut(name, ":")
	if short := strings.TrimPrefix(strings.TrimPrefix(device, "gpu"), "mig"); short != "" {
		device = short
	}
	return key{nvidia, device, slice}
}

// addCard adds nvidia-smi's description of a device.
func (f *finder) addCard(c card) {
	g := f.gpu(key{nvidia, c.index, ""})
	g.ID, g.Model, g.Memory = c.uuid, cmp.Or(c.model, g.Model), cmp.Or(c.memory, g.Memory)
	named := g.Slices
	g.Slices = nil
	for _, m := range c.slices {
		s := executors.Device{Name: g.Name + ":" + m.index, ID: m.uuid, Part: m.profile}
		for _, n := range named {
			if _, short, _ := strings.Cut(n.Name, "="); f.nvidiaKey(short).slice == m.index {
				s.Name = n.Name
			}
		}
		g.Slices = append(g.Slices, s)
	}
}

// found returns the devices. If nvidia-smi lists any, it omits NVIDIA's devices that
// nvidia-smi does not list: they are gone.
func (f *finder) found() []executors.GPU {
	var gpus []executors.GPU
	for k, g := range f.gpus {
		gone := len(f.cards) > 0 && k.kind == nvidia && !slices.ContainsFunc(f.cards, func(c card) bool { return c.index == k.device })
		if !gone {
			slices.SortFunc(g.Slices, byName)
			gpus = append(gpus, *g)
		}
	}
	slices.SortFunc(gpus, func(a, b executors.GPU) int { return byName(a.Device, b.Device) })
	return gpus
}

// byName sorts names by number, 2 before 10.
func byName(a, b executors.Device) int {
	split := func(d executors.Device) (string, int) {
		n := len(strings.TrimRight(d.Name, "0123456789"))
		i, _ := strconv.Atoi(d.Name[n:])
		return d.Name[:n], i
	}
	an, ai := split(a)
	bn, bi := split(b)
	return cmp.Or(strings.Compare(an, bn), cmp.Compare(ai, bi))
}

// nodesOf returns the device nodes of a device, by which two names of one device are
// recognised.
func nodesOf(d *cdi.Device) string {
	var nodes []string
	for _, n := range d.ContainerEdits.DeviceNodes {
		nodes = append(nodes, cmp.Or(n.HostPath, n.Path))
	}
	slices.Sort(nodes)
	return strings.Join(nodes, " ")
}
