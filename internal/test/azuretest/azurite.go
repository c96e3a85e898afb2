package azuretest

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/internal/files"
)

//go:embed azurite/package.json
var manifest []byte

//go:embed azurite/package-lock.json
var lock []byte

// installAzurite returns the program azurite-blob, which npm installs into the user's cache, once for each lock.
func installAzurite(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if at := os.Getenv("TENON_CACHE"); at != "" {
		cache, err = filepath.Dir(at), nil
	}
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(lock)
	dir := filepath.Join(cache, "tenon-tests", "azurite-"+hex.EncodeToString(sum[:8]))
	program := filepath.Join(dir, "node_modules/azurite/dist/src/blob/main.js")
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	locked, err := os.OpenFile(dir+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer locked.Close()
	if err := unix.Flock(int(locked.Fd()), unix.LOCK_EX); err != nil {
		return "", err
	}
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	made := dir + ".new"
	if err := errors.Join(files.RemoveAll(made), os.MkdirAll(made, 0o755), os.WriteFile(filepath.Join(made, "package.json"), manifest, 0o600), os.WriteFile(filepath.Join(made, "package-lock.json"), lock, 0o600)); err != nil {
		return "", err
	}
	install := exec.CommandContext(ctx, "npm", "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund")
	install.Dir = made
	if out, err := install.CombinedOutput(); err != nil {
		return "", fmt.Errorf("install azurite, for which tests need npm: %w\n%s", err, out)
	}
	if err := os.Rename(made, dir); err != nil {
		return "", err
	}
	_, err = os.Stat(program)
	return program, err
}

// blobAccount is the only account that azurite has. That of a container is a part of its name.
const blobAccount = "tenontests"

// startAzurite starts the emulator of blobs, which keeps them in memory and wants tokens, and returns its URL.
func (c *Cloud) startAzurite(s *server, program string) (string, error) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	address := free.Addr().String()
	if err := free.Close(); err != nil {
		return "", err
	}
	_, port, _ := net.SplitHostPort(address)
	cmd := exec.Command("node", program, "--inMemoryPersistence", "--blobHost", "127.0.0.1", "--blobPort", port, "--oauth", "basic",
		"--cert", c.authority(), "--key", c.authority()+".key", "--silent", "--disableTelemetry", "--skipApiVersionCheck")
	cmd.Dir = c.Dir
	cmd.Env = append(os.Environ(), "AZURITE_ACCOUNTS="+blobAccount+":"+base64.StdEncoding.EncodeToString(make([]byte, 64)))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	c.stop = append(c.stop, func() { _ = cmd.Process.Kill(); <-exited })
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		resp, err := s.client.Get("https://" + address + "/" + blobAccount)
		if err == nil {
			return "https://" + address, resp.Body.Close()
		}
		select {
		case <-exited:
			return "", errors.New("azurite has ended")
		default:
		}
		if time.Now().After(end) {
			return "", fmt.Errorf("azurite does not answer: %w", err)
		}
	}
}

// container makes a container of blobs of an account. It may be there.
func (s *server) container(account, name string) error {
	r, err := http.NewRequest(http.MethodPut, s.blobs+"/"+blobAccount+"/"+account+"-"+name+"?restype=container", nil)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+token(user, forStorage))
	r.Header.Set("x-ms-version", "2025-05-05")
	resp, err := s.client.Do(r)
	if err != nil {
		return err
	}
	if err := resp.Body.Close(); err != nil || resp.StatusCode == http.StatusCreated || resp.StatusCode == http.StatusConflict {
		return err
	}
	return fmt.Errorf("azurite: make a container: %s", resp.Status)
}
