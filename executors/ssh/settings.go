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

// capacity returns what is declared, in thousandths of a core and bytes; 0 is not declared.
func (h Host) capacity() ir.Resources {
	return ir.Resources{MilliCPU: ir.ParseCores(h.CPU.String()), Memory: ir.ParseSize(h.Memory)}
}
