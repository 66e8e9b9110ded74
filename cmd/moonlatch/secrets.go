package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"unicode/utf8"
)

const (
	minSecret        = 32 // bytes
	minSecretLetters = 10 // different bytes, which a random line of 32 always has
	maxSecrets       = 10
	maxSecretFile    = 64 << 10 // bytes
)

// secretLines are the secrets of MOONLATCH_SECRET_FILE: the first seals and signs, all of them open and verify.
type secretLines [][]byte

// readSecretFile reads a secret a line; blank lines and those that begin with # are none. Its errors repeat no secret.
func readSecretFile(path string) (any, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", path)
	}
	if mode := info.Mode().Perm(); runtime.GOOS != "windows" && mode&0o027 != 0 {
		return nil, fmt.Errorf("%s can be read or changed by others (mode %04o); run chmod 600 on it, or 640 for a group", path, mode)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxSecretFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxSecretFile {
		return nil, fmt.Errorf("%s is larger than %d KiB", path, maxSecretFile>>10)
	}
	return parseSecrets(text)
}

func parseSecrets(text []byte) (secretLines, error) {
	if !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0 {
		return nil, errors.New("the file is not text; write one secret a line, like openssl rand -base64 32 prints it")
	}
	var secrets secretLines
	for i, line := range bytes.Split(text, []byte("\n")) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		different := map[byte]bool{}
		for _, b := range line {
			different[b] = true
		}
		switch {
		case len(line) < minSecret:
			return nil, fmt.Errorf("line %d is shorter than %d characters; make a secret with openssl rand -base64 32", i+1, minSecret)
		case len(different) < minSecretLetters:
			return nil, fmt.Errorf("line %d is easy to guess; make a secret with openssl rand -base64 32", i+1)
		}
		for _, other := range secrets {
			if bytes.Equal(other, line) {
				return nil, fmt.Errorf("line %d repeats an earlier one", i+1)
			}
		}
		secrets = append(secrets, line)
	}
	switch {
	case len(secrets) == 0:
		return nil, errors.New("the file has no secret; make one with openssl rand -base64 32")
	case len(secrets) > maxSecrets:
		return nil, fmt.Errorf("the file has %d secrets; keep at most %d", len(secrets), maxSecrets)
	}
	return secrets, nil
}
