package ssh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"
)

// How long to wait for a host that does not answer while a connection is made.
const dialPatience = 10 * time.Second

// A refusedError says that a host or this machine refuses a connection, which trying again does
// not change.
type refusedError struct {
	host Host
	text string
	err  error
}

func (e *refusedError) Error() string { return fmt.Sprintf("host %s: %s", e.host, e.text) }
func (e *refusedError) Unwrap() error { return e.err }

func (h Host) refused(err error, format string, args ...any) error {
	return &refusedError{h, fmt.Sprintf(format, args...), err}
}

// dial connects to a host whose key is known, as its user.
func (o Options) dial(ctx context.Context, h Host) (*gossh.Client, error) {
	hostKey, algorithms, err := o.hostKey(h)
	if err != nil {
		return nil, err
	}
	methods, done, err := o.auth(ctx, h)
	if err != nil {
		return nil, err
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, dialPatience)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", h.at())
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	c, channels, requests, err := gossh.NewClientConn(conn, h.at(), &gossh.ClientConfig{
		User: h.User, Auth: methods, HostKeyCallback: hostKey, HostKeyAlgorithms: algorithms,
	})
	if !stop() && err == nil {
		_ = c.Close() // it was closed
		err = context.Cause(ctx)
	}
	var key *knownhosts.KeyError
	var refused *refusedError
	switch {
	case err == nil:
		return gossh.NewClient(c, channels, requests), nil
	case errors.As(err, &refused):
		err = refused
	case errors.As(err, &key):
		err = h.unknown(key)
	case strings.Contains(err.Error(), "unable to authenticate"):
		err = h.refused(err, "it does not let user %s in with %s: add the public key to ~/.ssh/authorized_keys there, or correct user or key of the host", h.User, h.credential())
	}
	_ = conn.Close() // it may be closed already
	return nil, err
}

func (h Host) credential() string {
	if h.Key == "" {
		return "the keys of the agent at $SSH_AUTH_SOCK"
	}
	return "the key " + h.Key
}

// unknown says what known_hosts says about the key that a host has shown.
func (h Host) unknown(err *knownhosts.KeyError) error {
	if len(err.Want) > 0 {
		return h.refused(err, "it shows another key than known_hosts has (%s:%d): somebody may be in between; if the key was changed on purpose, correct it there", err.Want[0].Filename, err.Want[0].Line)
	}
	return h.refused(err, "its key is not in known_hosts: name it as host_key, or connect once with `ssh -p %d %s@%s` and compare the fingerprint", h.Port, h.User, h.Address)
}

// hostKey returns how to check the key of a host, and the algorithms that it may use. No key
// is accepted that was not known before.
func (o Options) hostKey(h Host) (gossh.HostKeyCallback, []string, error) {
	if h.HostKey != "" {
		key, _, _, _, err := gossh.ParseAuthorizedKey([]byte(h.HostKey))
		if err != nil {
			return nil, nil, h.refused(err, "its host_key is not a public key: %v", err)
		}
		algorithms := []string{key.Type()}
		if key.Type() == gossh.KeyAlgoRSA {
			algorithms = []string{gossh.KeyAlgoRSASHA512, gossh.KeyAlgoRSASHA256}
		}
		return func(_ string, _ net.Addr, shown gossh.PublicKey) error {
			if string(shown.Marshal()) != string(key.Marshal()) {
				return h.refused(nil, "it shows the key %s instead of host_key, which is %s: somebody may be in between; if the key was changed on purpose, correct host_key", gossh.FingerprintSHA256(shown), gossh.FingerprintSHA256(key))
			}
			return nil
		}, algorithms, nil
	}
	path, err := o.expand(h, h.KnownHosts, ".ssh/known_hosts")
	if err != nil {
		return nil, nil, err
	}
	check, err := knownhosts.New(path)
	if err != nil {
		return nil, nil, h.refused(err, "name its key as host_key, or known_hosts, because the known hosts cannot be read: %v", err)
	}
	return check, known(check, h), nil
}

// known returns the algorithms of the keys that known_hosts has for a host, so that the host
// shows one of them. It is nil if there are none.
func known(check gossh.HostKeyCallback, h Host) (algorithms []string) {
	var key *knownhosts.KeyError
	// No key has this type, so the error lists the keys that are wanted.
	if !errors.As(check(h.at(), &net.TCPAddr{}, noKey{}), &key) {
		return nil
	}
	for _, k := range key.Want {
		if k.Key.Type() == gossh.KeyAlgoRSA {
			algorithms = append(algorithms, gossh.KeyAlgoRSASHA512, gossh.KeyAlgoRSASHA256)
			continue
		}
		algorithms = append(algorithms, k.Key.Type())
	}
	return algorithms
}

// noKey is the key of no host.
type noKey struct{}

func (noKey) Type() string                          { return "none" }
func (noKey) Marshal() []byte                       { return []byte("none") }
func (noKey) Verify([]byte, *gossh.Signature) error { return errors.New("it is not a key") }

// auth returns how to log in: with a key file or the agent. done closes what it needs.
func (o Options) auth(ctx context.Context, h Host) (methods []gossh.AuthMethod, done func(), err error) {
	if h.Key == "" {
		socket := o.variable("SSH_AUTH_SOCK")
		if socket == "" {
			return nil, nil, h.refused(nil, "no agent is at $SSH_AUTH_SOCK: name a private key as key, or start an agent")
		}
		conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
		if err != nil {
			return nil, nil, h.refused(err, "the agent at $SSH_AUTH_SOCK does not answer: %v", err)
		}
		return []gossh.AuthMethod{gossh.PublicKeysCallback(agent.NewClient(conn).Signers)}, func() { conn.Close() }, nil
	}
	path, err := o.expand(h, h.Key, "")
	if err != nil {
		return nil, nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, h.refused(err, "its key: %v", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, nil, h.refused(nil, "other users can read the private key %s: run `chmod 600 %[1]s`", path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, h.refused(err, "its key: %v", err)
	}
	signer, err := gossh.ParsePrivateKey(b)
	var encrypted *gossh.PassphraseMissingError
	if errors.As(err, &encrypted) {
		return nil, nil, h.refused(err, "the private key %s has a passphrase: add it to an agent with ssh-add, and remove key", path)
	}
	if err != nil {
		return nil, nil, h.refused(err, "%s is not a private key: %v", path, err)
	}
	return []gossh.AuthMethod{gossh.PublicKeys(signer)}, func() {}, nil
}

// expand returns a path of this machine: path, in which ~/ is the home folder, or if that is
// empty, one below the home folder.
func (o Options) expand(h Host, path, below string) (string, error) {
	rest, home := strings.CutPrefix(path, "~/")
	if path == "" {
		rest, home = below, true
	}
	if !home {
		return path, nil
	}
	dir := o.variable("HOME")
	if dir == "" {
		return "", h.refused(nil, "$HOME is not set, so %q is unknown: write the whole path", "~/"+rest)
	}
	return filepath.Join(dir, rest), nil
}

// variable returns a variable of tenon's environment.
func (o Options) variable(name string) (value string) {
	for _, kv := range o.Env {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			value = v
		}
	}
	return value
}
