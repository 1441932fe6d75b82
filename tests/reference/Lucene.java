import com.fasterxml.jackson.databind.ObjectMapper;
import io.anserini.analysis.AnalyzerUtils;
import io.anserini.analysis.DefaultEnglishAnalyzer;
import io.anserini.search.SimpleSearcher;
import java.io.BufferedReader;
import java.io.FileOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.apache.lucene.analysis.Analyzer;

/** Reads texts from stdin, a JSON string a line, and writes a JSON list for each: its words, or what is found. */
public class Lucene {
  private interface Answer {
    List<String> of(String text) throws Exception;
  }

  /** Arguments: the file to write, and the folder of an index to search; without that, words are asked for. */
  public static void main(String[] arguments) throws Exception {
    Answer answer = arguments.length > 1 ? found(arguments[1]) : words();
    ObjectMapper json = new ObjectMapper();
    try (BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream out = new PrintStream(new FileOutputStream(arguments[0]), false, StandardCharsets.UTF_8)) {
      for (String line = in.readLine(); line != null; line = in.readLine()) {
        out.println(json.writeValueAsString(answer.of(json.readValue(line, String.class))));
      }
    }
  }

  private static Answer words() {
    Analyzer analyzer = DefaultEnglishAnalyzer.newDefaultInstance();
    return text -> AnalyzerUtils.analyze(analyzer, text);
  }

  private static Answer found(String index) throws Exception {
    SimpleSearcher searcher = new SimpleSearcher(index);
    return text -> {
      List<String> names = new ArrayList<>();
      for (SimpleSearcher.Result result : searcher.search(text, 50)) {
        names.add(result.docid);
      }
      return names;
    };
  }
}
