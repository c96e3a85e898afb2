package stores

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"
)

// A cluster is several servers of Redis, each with some of the slots into which keys are divided,
// see https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/.
//
// Each command here has one key, so none needs keys of one slot, and the parts of a table are
// spread over all servers. Its version is there once the key that says so is, which is written
// last.
type cluster struct {
	common
	scheme string
	user   string
	seeds  []string // addresses that are declared

	mu    sync.Mutex
	nodes map[string]*node // by their address
	slots [slots]string    // the address of each; "" if it is not known
}

const slots = 16384

// openCluster returns a cluster of which one server at least is at the URL, whose host may be
// several that are separated by commas.
func openCluster(c common) (*cluster, error) {
	scheme, rest, _ := strings.Cut(c.spec.URL, "://")
	at, path, _ := strings.Cut(rest, "/")
	user, hosts, given := strings.Cut(at, "@")
	if !given {
		user, hosts = "", at
	}
	x := &cluster{common: c, scheme: scheme, user: user, nodes: map[string]*node{}}
	for host := range strings.SplitSeq(hosts, ",") {
		if _, _, err := net.SplitHostPort(host); err != nil {
			host = net.JoinHostPort(strings.Trim(host, "[]"), "6379")
		}
		if _, err := url.Parse(x.urlOf(host)); err != nil || strings.HasPrefix(host, ":") || scheme != "redis" && scheme != "rediss" {
			return nil, fmt.Errorf("%q is not a URL of a cluster of Redis, such as redis://HOST:6379,HOST2:6379", c.spec.URL)
		}
		x.seeds = append(x.seeds, host)
	}
	if path != "" && path != "0" {
		return nil, fmt.Errorf("%q names the database %s, and a cluster of Redis has only 0", c.spec.URL, path)
	}
	return x, nil
}

func (x *cluster) urlOf(address string) string {
	if x.user != "" {
		address = x.user + "@" + address
	}
	return x.scheme + "://" + address
}

func (x *cluster) close() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, n := range x.nodes {
		n.close()
	}
}

// node returns the server at an address.
func (x *cluster) node(address string) *node {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := x.nodes[address]
	if n == nil {
		n = newNode(&x.common, x.urlOf(address))
		x.nodes[address] = n
	}
	return n
}

// redirected reports whether another server than the one that was asked has a key.
func redirected(refused redis.Error) bool {
	parts := strings.Fields(string(refused))
	return len(parts) == 3 && (parts[0] == "MOVED" || parts[0] == "ASK")
}

// retried reports whether a cluster may take a command in a moment: while it chooses another server
// for some slots, or moves them.
func retried(refused redis.Error) bool {
	text := string(refused)
	return strings.HasPrefix(text, "CLUSTERDOWN ") || strings.HasPrefix(text, "TRYAGAIN ") || strings.HasPrefix(text, "LOADING ") || strings.HasPrefix(text, "READONLY ")
}

// mostTries is how often a command is sent while servers point to others.
const mostTries = 16

// do implements [nodes]: commands for one server are sent to it at once, and to all servers side by
// side.
func (x *cluster) do(ctx context.Context, commands []command) (answers []any, err error) {
	answers = make([]any, len(commands))
	left := make([]int, len(commands))
	for i := range commands {
		left[i] = i
	}
	asking := map[int]string{} // the server that takes over the slot of a command
	for range mostTries {
		if left, err = x.round(ctx, commands, left, asking, answers); len(left) == 0 {
			return answers, err
		}
		if err := x.learn(ctx); err != nil {
			return nil, err
		}
	}
	return nil, err
}

// A share are the commands of one server.
type share struct {
	address string
	of      []int
	answers []any
	err     error
}

// round sends the commands that are left, and returns those that have to be sent again, and why.
// Without them, an error is final.
func (x *cluster) round(ctx context.Context, commands []command, left []int, asking map[int]string, answers []any) (again []int, err error) {
	shares, err := x.divide(ctx, commands, left, asking)
	if err != nil {
		return nil, err
	}
	var all sync.WaitGroup
	for _, s := range shares {
		all.Go(func() { s.answers, s.err = x.ask(ctx, s, commands, asking) })
	}
	all.Wait()
	var wait bool
	for _, s := range shares {
		if s.err != nil { // the server may be away, and another one have its slots
			if ctx.Err() != nil {
				return nil, s.err
			}
			again, err, wait = append(again, s.of...), s.err, true
			continue
		}
		for n, i := range s.of {
			delete(asking, i)
			refused, ok := s.answers[n].(redis.Error)
			switch {
			case !ok:
				answers[i] = s.answers[n]
				continue
			case redirected(refused):
				to := strings.Fields(string(refused))
				if address := x.announced(to[2], s.address); to[0] == "ASK" {
					asking[i] = address
				} else if slot, err := strconv.Atoi(to[1]); err == nil && slot >= 0 && slot < slots {
					x.mu.Lock()
					x.slots[slot] = address
					x.mu.Unlock()
				}
			case retried(refused):
				wait = true
			default:
				return nil, refused
			}
			again, err = append(again, i), refused
		}
	}
	if wait {
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
	return again, err
}

// ask sends its commands to a server.
func (x *cluster) ask(ctx context.Context, s *share, commands []command, asking map[int]string) ([]any, error) {
	var sent []command
	var at []int
	for _, i := range s.of {
		if asking[i] != "" {
			sent = append(sent, command{"ASKING", nil})
		}
		at = append(at, len(sent))
		sent = append(sent, commands[i])
	}
	all, err := x.node(s.address).each(ctx, sent)
	if err != nil {
		return nil, err
	}
	answers := make([]any, len(at))
	for n, i := range at {
		answers[n] = all[i]
	}
	return answers, nil
}

// divide divides commands by the servers that have their keys.
func (x *cluster) divide(ctx context.Context, commands []command, left []int, asking map[int]string) (shares []*share, err error) {
	of := map[string]*share{}
	for _, i := range left {
		address := asking[i]
		if address == "" {
			slot := slotOf(fmt.Sprint(commands[i].args[0]))
			if address = x.at(slot); address == "" {
				if err := x.learn(ctx); err != nil {
					return nil, err
				}
				if address = x.at(slot); address == "" {
					return nil, fmt.Errorf("no server of the cluster has the slot %d", slot)
				}
			}
		}
		if of[address] == nil {
			of[address] = &share{address: address}
			shares = append(shares, of[address])
		}
		of[address].of = append(of[address].of, i)
	}
	return shares, nil
}

func (x *cluster) at(slot int) string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.slots[slot]
}

// learn asks one server after another, those that are known and those that are declared, which
// slots each has.
func (x *cluster) learn(ctx context.Context) error {
	addresses, seen := []string{}, map[string]bool{}
	x.mu.Lock()
	for address := range x.nodes {
		addresses = append(addresses, address)
	}
	x.mu.Unlock()
	var failed error
	for _, address := range append(addresses, x.seeds...) {
		if seen[address] {
			continue
		}
		seen[address] = true
		answers, err := x.node(address).each(ctx, []command{{"CLUSTER", []any{"SLOTS"}}})
		if err == nil {
			if refused, ok := answers[0].(redis.Error); ok {
				err = refused
				if strings.Contains(string(refused), "cluster support disabled") {
					err = fmt.Errorf("it is not a node of a cluster: remove cluster: true: %w", refused)
				}
			} else if err = x.know(answers[0], address); err == nil {
				return nil
			}
		}
		failed = errors.Join(failed, fmt.Errorf("%s: %w", address, err))
		if ctx.Err() != nil {
			break
		}
	}
	return failed
}

// know keeps the answer of a server to CLUSTER SLOTS: ranges, each with its first and last slot and
// the servers that have it, of which the first one writes.
func (x *cluster) know(answer any, asked string) error {
	ranges, err := redis.Values(answer, nil)
	if err != nil {
		return err
	}
	var found [slots]string
	for _, r := range ranges {
		parts, err := redis.Values(r, nil)
		if err != nil || len(parts) < 3 {
			return errors.Join(errors.New("it does not say which slots its servers have"), err)
		}
		first, err := redis.Int(parts[0], nil)
		last, err2 := redis.Int(parts[1], nil)
		server, err3 := redis.Values(parts[2], nil)
		if err := errors.Join(err, err2, err3); err != nil || first < 0 || last >= slots || len(server) < 2 {
			return errors.Join(errors.New("it does not say which slots its servers have"), err)
		}
		host, _ := redis.String(server[0], nil) // null is the host that was asked
		port, err := redis.Int(server[1], nil)
		if err != nil {
			return err
		}
		address := x.announced(net.JoinHostPort(host, strconv.Itoa(port)), asked)
		for slot := first; slot <= last; slot++ {
			found[slot] = address
		}
	}
	if len(ranges) == 0 {
		return errors.New("none of its servers has slots")
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.slots = found
	x.forget(found[:])
	return nil
}

// forget forgets servers that have no slots any more: they may have other addresses now, and to
// ask each of the former ones would take a timeout.
func (x *cluster) forget(found []string) {
	for address, n := range x.nodes {
		if !slices.Contains(found, address) && !slices.Contains(x.seeds, address) {
			n.close()
			delete(x.nodes, address)
		}
	}
}

// announced is the address that a server says of another one. Without a host, it is its own.
func (x *cluster) announced(address, asked string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host != "" && host != "?" {
		return address
	}
	host, _, _ = net.SplitHostPort(asked)
	return net.JoinHostPort(host, port)
}

// slotOf is the slot of a key: CRC-16/XMODEM of it, or of what it has in braces.
func slotOf(key string) int {
	if _, rest, ok := strings.Cut(key, "{"); ok {
		if tag, _, ok := strings.Cut(rest, "}"); ok && tag != "" {
			key = tag
		}
	}
	crc := uint16(0)
	for i := range len(key) {
		crc ^= uint16(key[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc) % slots
}
