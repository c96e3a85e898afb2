package ssh

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"strconv"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/internal/money"
)

// Settings are the settings of a target, as defined by tenon.#SSH.
type Settings struct {
	Hosts      []Host `json:"hosts"`
	KnownHosts string `json:"known_hosts"`
	// Autostop stops hosts that have nothing to do; nil stops none.
	Autostop *Autostop `json:"autostop,omitempty"`
	// State is the lineage of the state that records the tasks. It is part of the names of
	// their folders, so that several states can share a host.
	State string `json:"-"`
}

// An Autostop says when a host stops itself.
type Autostop struct {
	After   string   `json:"after"`             // "30m"
	Command []string `json:"command,omitempty"` // none is that of the system
	Results string   `json:"results,omitempty"` // how long a host waits for the result of a job to be fetched; "" is not at all
}

// A Host is a machine that runs units.
type Host struct {
	Address string      `json:"address"`
	Port    int         `json:"port"`
	User    string      `json:"user"`
	Key     string      `json:"key,omitempty"`      // path of a private key; "" is the agent
	HostKey string      `json:"host_key,omitempty"` // in the format of authorized_keys
	Folder  string      `json:"folder,omitempty"`   // on the host; "" is ~/.cache/tenon/ssh
	CPU     json.Number `json:"cpu,omitempty"`
	Memory  string      `json:"memory,omitempty"`
	GPU     *GPUs       `json:"gpu,omitempty"`
	Price   string      `json:"price,omitempty"` // "2.10 USD/h"
	// Containerd is the path of the socket of containerd on the host, which runs images; "" is the
	// usual one.
	Containerd string `json:"containerd,omitempty"`
	// Start starts the host, on this machine, which may take StartWithin; "" is 5 min.
	Start       []string `json:"start,omitempty"`
	StartWithin string   `json:"start_within,omitempty"`
	// KnownHosts is that of the settings, so that a handle suffices to connect.
	KnownHosts string `json:"known_hosts,omitempty"`
}

// GPUs are those that a host is said to have.
type GPUs struct {
	Count  int64  `json:"count"`
	Model  string `json:"model,omitempty"`
	Memory string `json:"memory,omitempty"` // of each
}

// SettingsOf decodes the settings of a target.
func SettingsOf(t ir.Target) (Settings, error) {
	var s Settings
	return s, executors.DecodeSettings(t, &s)
}

// at is where the host listens.
func (h Host) at() string { return net.JoinHostPort(h.Address, strconv.Itoa(h.Port)) }

// String names the host in messages.
func (h Host) String() string {
	if h.Port == defaultPort {
		return h.Address
	}
	return h.at()
}

const defaultPort = 22

// perHour returns the price, as far as there is one: an owned machine costs nothing.
func (h Host) perHour() money.Amount {
	amount, _, err := money.ParseRate(h.Price)
	if err != nil {
		return 0
	}
	return amount
}

// id names the account and folder in names of files.
func (h Host) id() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %d %q %q", h.Address, h.Port, h.User, h.Folder))
	return hex.EncodeToString(sum[:8])
}

// reached names how the host is reached.
func (h Host) reached() string {
	return fmt.Sprintf("%s %s %q %q %q", h.id(), h.Key, h.HostKey, h.KnownHosts, h.Containerd)
}

// same reports whether two hosts are one account and folder of one machine.
func (h Host) same(other Host) bool {
	return h.Address == other.Address && h.Port == other.Port && h.User == other.User && h.Folder == other.Folder
}

// lacks reports whether a host, as far as it is declared, has less in all than a task takes. promised is whether what is
// declared suffices for its GPUs: otherwise only the host knows.
func (h Host) lacks(claim, needs ir.Resources) (lacks, promised bool) {
	has := h.capacity()
	if has.MilliCPU > 0 && claim.MilliCPU > has.MilliCPU || has.Memory > 0 && claim.Memory > has.Memory {
		return true, false
	}
	if needs.GPU == 0 || h.GPU == nil {
		return false, needs.GPU == 0
	}
	each := ir.ParseSize(h.GPU.Memory)
	fit := h.GPU.Count >= needs.GPU && (each == 0 || each >= needs.GPUMemory) && (needs.GPUModel == "" || h.GPU.Model == "" || ir.IsModel(h.GPU.Model, needs.GPUModel))
	return !fit, fit
}

// capacity returns what is declared, in thousandths of a core and bytes; 0 is not declared.
func (h Host) capacity() ir.Resources {
	return ir.Resources{MilliCPU: ir.ParseCores(h.CPU.String()), Memory: ir.ParseSize(h.Memory)}
}
