package local

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// diagTimeout bounds the wait for an answer of the kernel, in seconds. It answers at once.
const diagTimeout = 2

// A socketID is inet_diag_sockid of sock_diag(7): ports and addresses are in network byte order.
type socketID struct {
	From, To   [2]byte
	Src, Dst   [16]byte
	Interface  uint32
	CookieLow  uint32
	CookieHigh uint32
}

// A diagRequest is inet_diag_req_v2 of sock_diag(7), behind the header of its message.
type diagRequest struct {
	Header    unix.NlMsghdr
	Family    uint8
	Protocol  uint8
	Extension uint8
	_         uint8
	States    uint32 // a bit for each
	ID        socketID
}

// A diagAnswer is inet_diag_msg of sock_diag(7).
type diagAnswer struct {
	Family, State, Timer, Retransmits uint8
	ID                                socketID
	Expires, Received, Sent           uint32
	UID                               uint32
	Inode                             uint32
}

// diagnose adds the listeners on a port of one of the addresses. It asks the kernel for
// listeners only: the tables in /proc also list all connections, and take a tenth of a second on a busy machine.
func diagnose(port int, ips []netip.Addr, to map[uint64]listener) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_INET_DIAG)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: diagTimeout}); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		if err := diagnoseFamily(fd, family, port, ips, to); err != nil {
			return err
		}
	}
	return nil
}

func diagnoseFamily(fd int, family uint8, port int, ips []netip.Addr, to map[uint64]listener) error {
	const listening = 1 << 10 // TCP_LISTEN
	request := diagRequest{
		Header: unix.NlMsghdr{Type: unix.SOCK_DIAG_BY_FAMILY, Flags: unix.NLM_F_REQUEST | unix.NLM_F_DUMP},
		Family: family, Protocol: unix.IPPROTO_TCP, States: listening,
	}
	request.Header.Len = uint32(unsafe.Sizeof(request))
	binary.BigEndian.PutUint16(request.ID.From[:], uint16(port))
	sent, err := binary.Append(nil, binary.NativeEndian, &request)
	if err != nil {
		return err
	}
	if err := unix.Sendto(fd, sent, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto", err)
	}
	buffer := make([]byte, 32<<10) // what the kernel fills at most
	for {
		n, _, err := unix.Recvfrom(fd, buffer, 0)
		if err != nil {
			return os.NewSyscallError("recvfrom", err)
		}
		messages, err := syscall.ParseNetlinkMessage(buffer[:n])
		if err != nil {
			return err
		}
		for _, m := range messages {
			switch m.Header.Type {
			case unix.NLMSG_DONE, unix.NLMSG_ERROR: // both may carry an error, such as ENOENT without the module tcp_diag
				return ended(m)
			}
			var a diagAnswer
			if _, err := binary.Decode(m.Data, binary.NativeEndian, &a); err != nil {
				return fmt.Errorf("sock_diag: %w", err)
			}
			if at := a.address(); int(at.Port()) == port && among(at.Addr(), ips) {
				to[uint64(a.Inode)] = listener{uint64(a.Inode), strconv.Itoa(int(a.UID))}
			}
		}
	}
}

// ended returns the error with which an answer ends, or nil if it is complete.
func ended(m syscall.NetlinkMessage) error {
	if len(m.Data) < 4 {
		return fmt.Errorf("sock_diag: an answer ends with %d bytes", len(m.Data))
	}
	code := -int32(binary.NativeEndian.Uint32(m.Data))
	if code != 0 || m.Header.Type != unix.NLMSG_DONE {
		return fmt.Errorf("sock_diag: %w", syscall.Errno(code))
	}
	return nil
}

// address returns where a socket is bound.
func (a *diagAnswer) address() netip.AddrPort {
	ip := netip.AddrFrom16(a.ID.Src)
	if a.Family == unix.AF_INET {
		ip = netip.AddrFrom4([4]byte(a.ID.Src[:4]))
	}
	return netip.AddrPortFrom(ip.Unmap(), binary.BigEndian.Uint16(a.ID.From[:]))
}
