package kubernetestest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/tenon-ml/tenon/internal/test/s3test"
)

// patience is how long a cluster may take to come up, on a machine that has other
// things to do.
const patience = 3 * time.Minute

const (
	contextName = "tenon-test"
	nodeName    = "node"
)

// An instance is what a folder says about the cluster that runs in it.
type instance struct {
	Cluster
	Net   network `json:"net"`
	Pid   int     `json:"pid"`   // of its node
	Ready bool    `json:"ready"` // it has come up
	Kept  bool    `json:"kept"`  // until [Down]; else it ends with the last that uses it
}

func (r instance) path(name string) string { return filepath.Join(r.Dir, "run", name) }

// folderVar names another folder than the user's.
const folderVar = "TENON_TEST_CLUSTER"

// Dir is the folder of the cluster that a user's tests share.
func Dir() (string, error) {
	if dir := os.Getenv(folderVar); dir != "" {
		return dir, nil
	}
	cache, err := os.UserCacheDir()
	return filepath.Join(cache, "tenon", "cluster"), err
}

// StartDetached starts a cluster in a folder, or takes the one that runs there, and keeps it
// until [Down]. What takes long is reported to w.
func StartDetached(dir string, w io.Writer) (*Cluster, error) {
	unlock, err := lock(dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	r, err := ensure(dir, w)
	if err != nil {
		return nil, err
	}
	r.Kept = true
	return &r.Cluster, r.write()
}

// Describe returns the cluster that runs in a folder.
func Describe(dir string) (*Cluster, error) {
	unlock, err := lock(dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	r, err := running(dir)
	if err != nil {
		return nil, err
	}
	return &r.Cluster, nil
}

// Down ends the cluster of a folder, with all that is in it. It is an error if tests
// use it.
func Down(dir string) error {
	unlock, err := lock(dir)
	if err != nil {
		return err
	}
	defer unlock()
	users, err := flock(filepath.Join(dir, "users"), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("tests use the cluster in %s: wait until they have ended", dir)
	}
	if err != nil {
		return err
	}
	defer users.Close()
	return stop(dir)
}

// use is Keep for as long as what it returns is not called.
func use(dir string, w io.Writer) (release func() error, err error) {
	unlock, err := lock(dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if _, err := ensure(dir, w); err != nil {
		return nil, err
	}
	users, err := flock(filepath.Join(dir, "users"), unix.LOCK_SH)
	if err != nil {
		return nil, err
	}
	return func() error {
		unlock, err := lock(dir)
		if err != nil {
			return err
		}
		defer unlock()
		defer users.Close()
		r, err := running(dir)
		if err != nil {
			return errors.Join(err, logs(dir), stop(dir))
		}
		if unix.Flock(int(users.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil || r.Kept {
			return nil
		}
		return stop(dir)
	}, nil
}

var errNotRunning = errors.New("make cluster-up starts one")

// running returns what a folder says if a node runs there.
func running(dir string) (instance, error) {
	alive, err := flock(filepath.Join(dir, "run", "alive"), unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return read(dir)
	case err == nil:
		_ = alive.Close()
		fallthrough
	case errors.Is(err, fs.ErrNotExist):
		return instance{}, fmt.Errorf("no cluster runs in %s: %w", dir, errNotRunning)
	}
	return instance{}, err
}

func read(dir string) (r instance, err error) {
	b, err := os.ReadFile(filepath.Join(dir, "run", "cluster.json"))
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(b, &r)
}

func (r instance) write() error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	part := r.path("cluster.json.part")
	if err := os.WriteFile(part, b, 0o600); err != nil {
		return err
	}
	return os.Rename(part, r.path("cluster.json"))
}

// ensure returns what runs in a folder, or starts it.
func ensure(dir string, w io.Writer) (instance, error) {
	r, err := running(dir)
	if err == nil && r.Ready || err != nil && !errors.Is(err, errNotRunning) {
		return r, err
	}
	if err := stop(dir); err != nil { // what a node has left that was killed, or who started it
		return r, err
	}
	if r, err = start(dir, w); err != nil {
		return r, errors.Join(err, logs(dir), stop(dir))
	}
	return r, nil
}

func start(dir string, w io.Writer) (instance, error) {
	if err := installed(); err != nil {
		return instance{}, err
	}
	kubeall, err := Kubernetes(w)
	if err != nil {
		return instance{}, err
	}
	names, err := Names(w)
	if err != nil {
		return instance{}, err
	}
	r := instance{Cluster: Cluster{Dir: dir, Context: contextName}}
	for _, d := range []string{"log", "pki", "cni", "s3", "etcd"} {
		if err := os.MkdirAll(r.path(d), 0o700); err != nil {
			return r, err
		}
	}
	if err := errors.Join(os.Symlink(kubeall, r.path("kubeall")), os.Symlink(names, r.path("names"))); err != nil {
		return r, err
	}
	for _, program := range []string{"cluster", "image"} {
		if err := build("", r.path(program), "build", "-o", r.path(program), base+"/"+program); err != nil {
			return r, err
		}
	}
	if r.Net, err = reserve(dir); err != nil {
		return r, err
	}
	if err := r.write(); err != nil { // from here on, [stop] finds what to remove
		return r, err
	}
	r.HostIP, r.NodeIP = r.Net.address(1), r.Net.address(2)
	r.Registry = r.NodeIP + ":5000"
	r.TestImage = r.Registry + "/test:1"
	r.Kubeconfig = r.path("kubeconfig")
	r.S3 = s3test.New(r.path("s3"), r.NodeIP+":7070")
	if err := r.configure(); err != nil {
		return r, err
	}
	exited, err := r.spawn()
	if err != nil {
		return r, err
	}
	if err := r.await(exited); err != nil {
		return r, err
	}
	r.Ready = true
	return r, r.write()
}

// spawn starts the node. The channel says how it ends, while we are there.
func (r *instance) spawn() (exited <-chan error, err error) {
	log, err := os.Create(r.path("log/node"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	alive, err := os.Create(r.path("alive"))
	if err != nil {
		return nil, err
	}
	defer alive.Close()
	if err := unix.Flock(int(alive.Fd()), unix.LOCK_EX); err != nil {
		return nil, err
	}
	cmd := exec.Command(r.path("cluster"), "node", r.Dir)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{alive} // is aliveFD
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET}
	begin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	defer begin.Close()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	r.Pid = cmd.Process.Pid
	if err := r.write(); err != nil {
		return nil, err
	}
	if err := r.Net.connect(r.Pid); err != nil {
		return nil, err
	}
	_, err = io.WriteString(begin, "\n")
	return ended, err
}

// await waits until the cluster does what it is for, and fills its registry.
func (r *instance) await(exited <-chan error) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, step := range []struct {
		what  string
		ready func() error
	}{
		{"the S3 server", r.S3.Ready},
		{"the registry", func() error {
			resp, err := http.Get("http://" + r.Registry + "/v2/")
			if err != nil {
				return err
			}
			return resp.Body.Close()
		}},
		{"the image of pods", func() error { return push(r.pause(), r.path("image"), "/program", "pause") }},
		{"the image of tests", func() error { return push(r.TestImage, r.path("image"), "/program") }},
		{"the server of names", func() error { return r.resolve(ctx, "kubernetes.default.svc."+domain) }},
		{"the node", func() error { return r.nodeReady(ctx) }},
		{"the API of metrics", func() error { return r.serveMetrics(ctx) }},
	} {
		for err := step.ready(); err != nil; err = step.ready() {
			select {
			case ended := <-exited:
				return fmt.Errorf("the node of the cluster ended: %w", ended)
			case <-ctx.Done():
				return fmt.Errorf("%s is not ready: %w", step.what, err)
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	return nil
}

// domain is that of the names of the cluster.
const domain = "cluster.local"

// resolve asks the cluster for a name.
func (r *instance) resolve(ctx context.Context, name string) error {
	dns := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, net.JoinHostPort(r.NodeIP, "53"))
	}}
	_, err := dns.LookupHost(ctx, name+".")
	return err
}

// pause is the image that holds the namespaces of a pod.
func (r *instance) pause() string { return r.Registry + "/pause:1" }

// stop ends what runs in a folder and removes what it keeps, also of a node that was
// killed.
func stop(dir string) error {
	r, err := read(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return os.RemoveAll(filepath.Join(dir, "run"))
	}
	if err != nil {
		return err
	}
	if _, err := running(dir); err == nil {
		if err := end(r.Pid); err != nil {
			return err
		}
	} else if !errors.Is(err, errNotRunning) {
		return err
	}
	return errors.Join(r.Net.release(dir), os.RemoveAll(filepath.Join(dir, "run")))
}

// end kills a process and waits until it is gone. That of a node is, when all in its
// namespace are.
func end(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		return err
	}
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// logs is the end of each log of a cluster that did not come up.
func logs(dir string) error {
	names, err := filepath.Glob(filepath.Join(dir, "run", "log", "*"))
	if err != nil {
		return err
	}
	for _, name := range names {
		b, rerr := os.ReadFile(name)
		err = errors.Join(err, rerr)
		if len(b) > 0 {
			err = errors.Join(err, fmt.Errorf("%s:\n%s", filepath.Base(name), b[max(0, len(b)-2000):]))
		}
	}
	return err
}

// lock takes the lock of a folder, which it creates, once it is free.
func lock(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := flock(filepath.Join(dir, "lock"), unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	return func() { _ = f.Close() }, nil
}

// flock locks a file. The lock ends when the file is closed.
func flock(name string, how int) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		if err = unix.Flock(int(f.Fd()), how); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return f, nil
}

// configure writes what the parts of the cluster read.
func (r *instance) configure() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	token := rand.Text()
	config := clientcmdapi.NewConfig()
	config.CurrentContext = r.Context
	config.Contexts[r.Context] = &clientcmdapi.Context{Cluster: r.Context, AuthInfo: "admin"}
	config.Clusters[r.Context] = &clientcmdapi.Cluster{Server: "https://" + r.NodeIP + ":6443", CertificateAuthority: r.path("pki/apiserver.crt")}
	config.AuthInfos["admin"] = &clientcmdapi.AuthInfo{Token: token}
	err = clientcmd.WriteToFile(*config, r.Kubeconfig)

	certs := "certs.d/" + r.Registry
	err = errors.Join(err, os.MkdirAll(r.path(certs), 0o700))
	for name, content := range map[string]string{
		"pki/accounts.key": string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})),
		"pki/tokens.csv":   token + ",admin,admin,system:masters\n",
		"cni/test.conflist": fmt.Sprintf(`{"cniVersion": "1.0.0", "name": "test", "plugins": [{"type": "ptp", "ipam": {"type": "host-local",
	"dataDir": %q, "ranges": [[{"subnet": %q}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
`, r.path("ipam"), r.Net.pods()),
		"Corefile": fmt.Sprintf(".:53 {\n\terrors\n\tkubernetes %s {\n\t\tkubeconfig %q %s\n\t}\n}\n", domain, r.Kubeconfig, r.Context),
		"registry.yml": fmt.Sprintf("version: 0.1\nlog: {level: info}\nstorage: {filesystem: {rootdirectory: %q}, delete: {enabled: true}}\nhttp: {addr: %q}\n",
			r.path("registry"), r.Registry),
		certs + "/hosts.toml": fmt.Sprintf("server = \"http://%[1]s\"\n[host.\"http://%[1]s\"]\n", r.Registry),
		"containerd.toml": fmt.Sprintf(`version = 2
root = %q
state = "/run/containerd/state"
[grpc]
address = "/run/containerd/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
path = %q
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = %q
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = %q
conf_dir = %q
[plugins."io.containerd.grpc.v1.cri".registry]
config_path = %q
`, r.path("containerd"), r.path("opt"), r.pause(), plugins, r.path("cni"), r.path("certs.d")),
		// Images are not collected, and pods are not evicted while there is a little space: the disk is shared with others.
		// What pods write is measured often, so that one that writes too much is evicted soon.
		"kubelet.yaml": fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /%s
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
resolvConf: /etc/resolv.conf
clusterDNS: [%s]
clusterDomain: %s
evictionHard: {memory.available: 100Mi, nodefs.available: 200Mi, nodefs.inodesFree: 1%%, imagefs.available: 200Mi}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
serializeImagePulls: false
volumeStatsAggPeriod: 5s
`, r.Net.name(), r.NodeIP, domain),
	} {
		err = errors.Join(err, os.WriteFile(r.path(name), []byte(content), 0o600))
	}
	return err
}
