command_test(){ fail todo; }
