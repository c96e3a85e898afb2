package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"
)

// A named is a complete reference to an image.
type named struct {
	host   string  // "docker.io"
	path   string  // "library/python"
	tag    string  // "3.11", or "" if there is a digest
	digest v1.Hash // zero if it is not pinned
}

// name returns the reference without its digest.
func (n named) name() string {
	if n.tag == "" {
		return n.host + "/" + n.path
	}
	return n.host + "/" + n.path + ":" + n.tag
}

func (n named) String() string {
	if n.digest == (v1.Hash{}) {
		return n.name()
	}
	return n.name() + "@" + n.digest.String()
}

// parse reads a reference as docker does: "python" means
// "docker.io/library/python:latest".
func parse(ref string) (named, error) {
	r, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return named{}, fmt.Errorf("%q is not an image name, such as %s: %w", ref, DefaultBase, err)
	}
	n := named{host: reference.Domain(r), path: reference.Path(r)}
	if d, ok := r.(reference.Digested); ok {
		if n.digest, err = v1.NewHash(d.Digest().String()); err != nil {
			return named{}, fmt.Errorf("%q is not an image name: %w", ref, err)
		}
	} else {
		r = reference.TagNameOnly(r)
	}
	if t, ok := r.(reference.Tagged); ok {
		n.tag = t.Tag()
	}
	return n, nil
}

// Pin returns the full name of an image with its digest:
// "docker.io/library/python:3.11@sha256:...". An image imported under that name comes
// first, then the cached answer of its registry, unless again is set. Pin caches the
// answer, with the image's manifest and config. A name with a digest is already pinned.
func (s *Store) Pin(ctx context.Context, ref string, again bool) (string, error) {
	n, err := parse(ref)
	if err != nil || n.digest != (v1.Hash{}) {
		return n.String(), err
	}
	h, imported, err := s.named(n)
	if err != nil {
		return "", err
	}
	if h != (v1.Hash{}) && (imported || !again) {
		n.digest = h
		return n.String(), nil
	}
	_, desc, err := s.resolver(ctx).Resolve(quiet(ctx, nil), n.String())
	if err != nil {
		return "", s.explain(ctx, n, err)
	}
	if n.digest, err = v1.NewHash(desc.Digest.String()); err != nil {
		return "", err
	}
	if _, err := s.open(ctx, n.String()); err != nil {
		return "", err
	}
	d := v1.Descriptor{MediaType: types.MediaType(desc.MediaType), Size: desc.Size, Digest: n.digest}
	return n.String(), s.name(ctx, n, d, time.Now())
}

// fetchManifest fetches the manifest with that digest from the image's registry.
func (s *Store) fetchManifest(ctx context.Context, n named, h v1.Hash) (*v1.Descriptor, []byte, error) {
	at := named{host: n.host, path: n.path, digest: h}
	_, desc, err := s.resolver(ctx).Resolve(quiet(ctx, nil), at.String())
	if err != nil {
		return nil, nil, s.explain(ctx, n, err)
	}
	d := v1.Descriptor{MediaType: types.MediaType(desc.MediaType), Size: desc.Size, Digest: h}
	if err := s.fetch(ctx, n.String(), d); err != nil {
		return nil, nil, err
	}
	b, err := s.read(h)
	return &d, b, err
}

// fetch fetches a blob unless it exists. It discards a blob with another digest.
func (s *Store) fetch(ctx context.Context, ref string, d v1.Descriptor) (err error) {
	if s.has(d.Digest, d.Size) {
		return nil
	}
	n, err := parse(ref)
	if err != nil {
		return err
	}
	work, release, err := s.work(ctx, d.Digest.Hex)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	if s.has(d.Digest, d.Size) {
		return nil
	}
	if d.Size > loud {
		s.say(ctx, "fetching %d MB of %s", d.Size/1e6, n.name())
	}
	fetcher, err := s.resolver(ctx).Fetcher(quiet(ctx, nil), n.String())
	if err != nil {
		return s.explain(ctx, n, err)
	}
	r, err := fetcher.Fetch(quiet(ctx, nil), descriptor(d))
	if err != nil {
		return s.explain(ctx, n, err)
	}
	defer r.Close()
	f, err := os.Create(work)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := newSum(f)
	_, err = io.Copy(sum, io.LimitReader(r, d.Size+1))
	if err != nil && !errdefs.IsFailedPrecondition(err) { // which means that it is too long
		return s.explain(ctx, n, err)
	}
	if err != nil || sum.hash() != d.Digest {
		return fmt.Errorf("%s: the registry sent other content than %s, which was discarded; if this happens again, the registry or its mirror is damaged", n.name(), d.Digest)
	}
	return s.adopt(f, d.Digest)
}

// loud is the size in bytes from which a transfer is reported.
const loud = 1 << 20

func descriptor(d v1.Descriptor) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: string(d.MediaType), Size: d.Size, Digest: digest.Digest(d.Digest.String())}
}

// Push pushes an image to its registry under a name, and returns that name, pinned. It
// does not send layers that the registry has.
func (s *Store) Push(ctx context.Context, img v1.Image, ref string) (string, error) {
	n, err := parse(ref)
	if err != nil {
		return "", err
	}
	if n.digest != (v1.Hash{}) {
		return "", fmt.Errorf("an image must be pushed with a tag, not with a digest: %s", n.name())
	}
	h, err := img.Digest()
	if err != nil {
		return "", err
	}
	pusher, err := s.resolver(ctx).Pusher(quiet(ctx, nil), n.String())
	if err != nil {
		return "", s.explain(ctx, n, err)
	}
	layers, err := img.Layers()
	if err != nil {
		return "", err
	}
	m, err := img.Manifest()
	if err != nil {
		return "", err
	}
	for i, l := range layers {
		if err := s.push(ctx, pusher, n, m.Layers[i], l.Compressed); err != nil {
			return "", err
		}
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return "", err
	}
	if err := s.push(ctx, pusher, n, m.Config, inMemory(config)); err != nil {
		return "", err
	}
	raw, err := img.RawManifest()
	if err != nil {
		return "", err
	}
	kind, err := img.MediaType() // the manifest need not contain it
	if err != nil {
		return "", err
	}
	d := v1.Descriptor{MediaType: kind, Size: int64(len(raw)), Digest: h}
	if err := s.push(ctx, pusher, n, d, inMemory(raw)); err != nil {
		return "", err
	}
	n.digest = h
	return n.String(), nil
}

// Publish pushes an image to a repository, such as "registry:5000/team/units", unless
// the registry has it. It returns its name there,
// "registry:5000/team/units@sha256:...". It also gives the image a tag of its own, so
// that the registry's clean-up does not remove it.
func (s *Store) Publish(ctx context.Context, img v1.Image, repository string) (string, error) {
	n, err := parse(repository)
	if err != nil {
		return "", err
	}
	if last := repository[strings.LastIndexByte(repository, '/')+1:]; strings.ContainsAny(last, ":@") {
		return "", fmt.Errorf("%q is not a repository: remove the part after the last colon, because tenon refers to images by digest", repository)
	}
	if n.digest, err = img.Digest(); err != nil {
		return "", err
	}
	n.tag = ""
	if _, _, err := s.pusher(ctx).Resolve(quiet(ctx, nil), n.String()); err == nil {
		return n.String(), nil
	} else if !errdefs.IsNotFound(err) {
		return "", s.explain(ctx, n, err)
	}
	_, err = s.Push(ctx, img, n.name()+":tenon-"+n.digest.Hex)
	return n.String(), err
}

// pusher returns a resolver that uses only the registries themselves, not their
// mirrors.
func (s *Store) pusher(ctx context.Context) remotes.Resolver {
	return docker.NewResolver(docker.ResolverOptions{Hosts: func(host string) ([]docker.RegistryHost, error) {
		all, err := s.endpoints(ctx, host)
		return slices.DeleteFunc(slices.Clone(all), func(h docker.RegistryHost) bool { return !h.Capabilities.Has(docker.HostCapabilityPush) }), err
	}})
}

func inMemory(b []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(string(b))), nil }
}

func (s *Store) push(ctx context.Context, to remotes.Pusher, n named, d v1.Descriptor, open func() (io.ReadCloser, error)) error {
	w, err := to.Push(quiet(ctx, nil), descriptor(d))
	if errdefs.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		return s.explain(ctx, n, err)
	}
	defer w.Close()
	r, err := open()
	if err != nil {
		return err
	}
	defer r.Close()
	if d.Size > loud {
		s.say(ctx, "pushing %d MB to %s", d.Size/1e6, n.name())
	}
	err = content.Copy(quiet(ctx, nil), w, r, d.Size, digest.Digest(d.Digest.String()))
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return s.explain(ctx, n, err)
	}
	return nil
}

// resolver returns a client of registries.
func (s *Store) resolver(ctx context.Context) remotes.Resolver {
	return docker.NewResolver(docker.ResolverOptions{Hosts: func(host string) ([]docker.RegistryHost, error) { return s.endpoints(ctx, host) }})
}

// endpoints returns the mirrors of a host and the host itself, as configured in
// hosts.toml. They are cached, because they hold connections and tokens.
func (s *Store) endpoints(ctx context.Context, host string) ([]docker.RegistryHost, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.hosts[host]; ok {
		return e, nil
	}
	var logged error
	configure := config.ConfigureHosts(quiet(ctx, &logged), config.HostOptions{
		HostDir: config.HostDirFromRoot(s.opts.Hosts), Credentials: s.credentials,
	})
	e, err := configure(host)
	if err = errors.Join(err, logged); err != nil {
		return nil, &hostsError{err}
	}
	s.hosts[host] = e
	return e, nil
}

// A hostsError is an error in the configuration of a host.
type hostsError struct{ error }

// quiet keeps the client's log off the user's terminal. logged receives the first message
// that the client logs as an error, such as that it ignores a hosts.toml.
func quiet(ctx context.Context, logged *error) context.Context {
	l := logrus.New()
	l.SetOutput(io.Discard)
	l.SetLevel(logrus.ErrorLevel)
	if logged != nil {
		l.AddHook(hook{logged})
	}
	return log.WithLogger(ctx, logrus.NewEntry(l))
}

type hook struct{ logged *error }

func (hook) Levels() []logrus.Level { return []logrus.Level{logrus.ErrorLevel} }

func (h hook) Fire(e *logrus.Entry) error {
	if *h.logged == nil {
		*h.logged = errors.New(e.Message)
		if err, ok := e.Data[logrus.ErrorKey].(error); ok {
			*h.logged = fmt.Errorf("%s: %w", e.Message, err)
		}
	}
	return nil
}

// credentials returns the credentials for a host and records that the host received
// some: the hint after a denied access depends on it.
func (s *Store) credentials(host string) (user, secret string, err error) {
	user, secret, err = s.opts.Credentials(host)
	var none *NoCredentialsError
	if errors.As(err, &none) {
		s.mu.Lock()
		s.why[host] = none.Err
		s.mu.Unlock()
		return "", "", nil
	}
	if err != nil {
		return "", "", fmt.Errorf("find credentials for %s: %w", host, err)
	}
	if secret != "" {
		s.mu.Lock()
		s.given[host] = true
		s.mu.Unlock()
	}
	return user, secret, nil
}

// A NoCredentialsError says why there are no credentials for a host. The host is asked without any, because some need
// none, and one that denies access is reported with it.
type NoCredentialsError struct{ Err error }

func (e *NoCredentialsError) Error() string { return e.Err.Error() }
func (e *NoCredentialsError) Unwrap() error { return e.Err }

// DockerCredentials returns the credentials of docker login and of the helpers in
// docker's configuration.
func DockerCredentials(host string) (user, secret string, err error) {
	if host == "registry-1.docker.io" {
		host = "index.docker.io"
	}
	a, err := authn.DefaultKeychain.Resolve(registry(host))
	if err != nil {
		return "", "", err
	}
	c, err := a.Authorization()
	if err != nil {
		return "", "", err
	}
	if c.IdentityToken != "" {
		return "", c.IdentityToken, nil
	}
	return c.Username, c.Password, nil
}

// registry implements [authn.Resource].
type registry string

func (r registry) String() string      { return string(r) }
func (r registry) RegistryStr() string { return string(r) }
