package ir

import (
	"fmt"
	"net/netip"
	"strings"
)

// Address returns where the service listens, in words.
func (e *Endpoint) Address() string {
	host := e.Host
	if host == "" {
		host = "every address"
	}
	return fmt.Sprintf("port %d of %s", e.Port, host)
}

// Overlaps reports whether two services that listen on a and b may be in each other's way:
// on the same port of the same host. A host that stands for all addresses overlaps with
// every other. So does a host name, which may stand for any address; localhost stands for
// a loopback address.
func (e *Endpoint) Overlaps(o *Endpoint) bool {
	if e == nil || o == nil || e.Port != o.Port {
		return false
	}
	a, b := hostOf(e.Host), hostOf(o.Host)
	switch {
	case a.every || b.every:
		return true
	case a.ip.IsValid() && b.ip.IsValid():
		return a.ip == b.ip
	case a.local && b.ip.IsValid():
		return b.ip.IsLoopback()
	case b.local && a.ip.IsValid():
		return a.ip.IsLoopback()
	}
	return true
}

type host struct {
	every bool // of the machine's addresses
	local bool // localhost
	ip    netip.Addr
}

func hostOf(name string) host {
	ip, err := netip.ParseAddr(name)
	switch {
	case name == "" || err == nil && ip.IsUnspecified():
		return host{every: true}
	case err == nil:
		return host{ip: ip.Unmap()}
	}
	return host{local: strings.EqualFold(name, "localhost")}
}
