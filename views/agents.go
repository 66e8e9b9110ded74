package views

import "strings"

// browser names the program and the system behind a User-Agent header, as far as it is one people know:
// "Firefox on Windows". Anything else stands for itself, cut to a length that fits.
func browser(agent string) string {
	program := firstIn(agent, [][2]string{
		{"Edg/", "Edge"}, {"OPR/", "Opera"}, {"SamsungBrowser/", "Samsung Internet"}, {"Firefox/", "Firefox"}, {"FxiOS/", "Firefox"},
		{"CriOS/", "Chrome"}, {"HeadlessChrome/", "Chrome"}, {"Chrome/", "Chrome"}, {"Version/", "Safari"},
	})
	system := firstIn(agent, [][2]string{
		{"Windows", "Windows"}, {"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Android", "Android"}, {"CrOS", "ChromeOS"},
		{"Mac OS X", "macOS"}, {"Linux", "Linux"},
	})
	switch {
	case program != "" && system != "":
		return program + " on " + system
	case program != "":
		return program
	case agent == "":
		return "Unknown browser"
	}
	if runes := []rune(agent); len(runes) > 60 {
		return string(runes[:60]) + "…"
	}
	return agent
}

func firstIn(text string, names [][2]string) string {
	for _, n := range names {
		if strings.Contains(text, n[0]) {
			return n[1]
		}
	}
	return ""
}
