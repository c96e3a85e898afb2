package ir

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
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

// URL returns where clients reach the service.
func (e *Endpoint) URL() string {
	scheme := "http"
	if e.TLS {
		scheme = "https"
	}
	return scheme + "://" + net.JoinHostPort(e.Host, strconv.Itoa(e.Port))
}

// All returns an endpoint for each address that the service listens on, its own first.
func (e *Endpoint) All() []*Endpoint {
	if e == nil {
		return nil
	}
	own := *e
	own.Management = nil
	if m := e.Management; m != nil {
		return []*Endpoint{&own, {Host: m.Host, Port: m.Port, Ready: e.Ready}}
	}
	return []*Endpoint{&own}
}

// Probe returns the endpoint that is asked whether the service is ready.
func (e *Endpoint) Probe() *Endpoint {
	all := e.All()
	return all[len(all)-1]
}

// Overlaps reports whether two services that listen on e and o may be in each other's way.
// Neither needs to be there.
func (e *Endpoint) Overlaps(o *Endpoint) bool {
	for _, a := range e.All() {
		for _, b := range o.All() {
			if a.overlaps(b) {
				return true
			}
		}
	}
	return false
}

// overlaps reports whether two addresses may be the same port of the same host. A host that
// stands for all addresses overlaps with every other. So does a host name, which may stand for any address; localhost stands for
// a loopback address.
func (e *Endpoint) overlaps(o *Endpoint) bool {
	if e.Port != o.Port {
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
