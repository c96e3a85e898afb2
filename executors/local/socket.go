package local

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// SocketArgs are the arguments with which tenon-run keeps the socket of a service while it is started
// again: its address, the name at which the next version gets it, and those of the versions before. A
// service that does not take a socket has none.
func (a *Address) SocketArgs() []string {
	at := HeldSocket(a.task.Unit)
	if at == "" {
		return nil
	}
	args := []string{"-socket", at, "-hand", folderID(a.task.Dir)}
	for _, r := range a.all {
		if r.at.Port != a.task.Unit.Endpoint.Port {
			continue // the one for management
		}
		for _, c := range r.beside {
			args = append(args, "-take", folderID(c.Dir))
		}
	}
	return args
}

// HeldSocket is the address of that socket, or "". Only programs of Tenon take one. A host name may
// have several addresses.
func HeldSocket(u ir.Unit) string {
	at := u.Endpoint
	if !u.Code.Runtime.Serves() || at == nil || at.Port == 0 {
		return ""
	}
	ip, err := netip.ParseAddr(cmp.Or(at.Host, "127.0.0.1"))
	if err != nil {
		return ""
	}
	return netip.AddrPortFrom(ip, uint16(at.Port)).String()
}

// folderID identifies a run's folder among those of the machine.
func folderID(dir string) string {
	sum := sha256.Sum256([]byte(dir))
	return hex.EncodeToString(sum[:8])
}
